//! The result of a command of operators, and the lines that are the same in all of them.

use serde_json::Value;

use super::terminal::cell;

/// The result of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct CommandOutput {
    /// For standard output.
    pub(super) text: String,
    /// For standard error: what is missing in it.
    pub(super) notes: String,
    /// The exit code.
    pub(super) code: u8,
}

/// A line for each node that did not answer, or whose version does not know the question.
pub(super) fn missing_nodes(answer: &Value) -> String {
    let nodes = answer.get("nodes").and_then(Value::as_array);
    let silent = nodes.into_iter().flatten().filter(|node| node["answered"] == false);
    silent
        .map(|node| {
            let (name, version) = (cell(&node["name"]), cell(&node["version"]));
            if node["unsupported"] == true {
                format!("{name} ({version}) cannot tell, its part is missing\n")
            } else {
                format!("{name} did not answer, its part is missing\n")
            }
        })
        .collect()
}

/// One object a line, each with the table that it is of.
pub(super) fn tagged_lines<'a>(tables: impl IntoIterator<Item = (&'a str, &'a Value)>) -> String {
    let mut text = String::new();
    for (table, rows) in tables {
        for row in rows.as_array().into_iter().flatten() {
            let mut object = serde_json::Map::from_iter([("table".to_owned(), table.into())]);
            object.extend(row.as_object().cloned().unwrap_or_default());
            text.push_str(&Value::Object(object).to_string());
            text.push('\n');
        }
    }
    text
}

/// The rows of an answer.
pub(super) fn rows(answer: &Value) -> &[Value] {
    answer["result"].as_array().map_or(&[], Vec::as_slice)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_line_names_its_table_and_a_silent_node_is_a_note() {
        let old = json!({"name": "n3", "version": "0.1.0", "answered": false, "unsupported": true});
        let answer = json!({"nodes": [{"name": "n1", "answered": true}, {"name": "n\u{1b}2", "answered": false}, old]});
        assert_eq!(
            missing_nodes(&answer),
            "n\\u{1b}2 did not answer, its part is missing\nn3 (0.1.0) cannot tell, its part is missing\n"
        );
        let rows = json!([{"a": 1}, {"a": 2}]);
        let expected = "{\"a\":1,\"table\":\"x\"}\n{\"a\":2,\"table\":\"x\"}\n";
        assert_eq!(tagged_lines([("x", &rows), ("y", &Value::Null)]), expected);
    }
}

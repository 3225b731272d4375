//! Commands that nest deep.

use super::*;

/// A publish whose data nests so deep.
fn nested(depth: usize, open: &str, close: &str) -> String {
    format!(r#"{{"id":1,"publish":{{"channel":"a","data":{}1{}}}}}"#, open.repeat(depth), close.repeat(depth))
}

#[test]
fn depth_is_limited_with_the_commands_own_levels_counted() {
    read(&nested(JSON_DEPTH - 2, "[", "]"));
    let too_deep = DecodeError::Invalid { id: 1, reason: Invalid::Unreadable };
    assert_eq!(fault(nested(JSON_DEPTH - 1, "[", "]").as_bytes()), too_deep);
    assert_eq!(fault(nested(JSON_DEPTH - 1, r#"{"a":"#, "}").as_bytes()), too_deep);
}

#[test]
fn nesting_of_a_hundred_thousand_levels_costs_no_stack() {
    const DEPTH: usize = 100_000;
    let of_its_command = DecodeError::Invalid { id: 1, reason: Invalid::Unreadable };
    let of_the_line = Malformed::Json(JsonError::TooDeep { max_depth: JSON_DEPTH }).into();
    for (line, error) in [
        (nested(DEPTH, "[", "]"), of_its_command),
        (nested(DEPTH, r#"{"a":"#, "}"), of_its_command),
        ("[".repeat(DEPTH), of_the_line),
        (r#"{"id":"#.repeat(DEPTH), of_the_line),
        (format!(r#"{{"later":{}"#, "[".repeat(DEPTH)), of_the_line),
    ] {
        assert_eq!(fault(line.as_bytes()), error);
        // Without our limit, the parser's own way through raw values must not need the stack either.
        let _ = decode(line.as_bytes(), usize::MAX);
    }
}

#[test]
fn brackets_inside_strings_do_not_count_as_depth() {
    let line = format!(r#"{{"id":1,"publish":{{"channel":"\"{}","data":"\\"}}}}"#, "[{".repeat(1000));
    read(&line);
}

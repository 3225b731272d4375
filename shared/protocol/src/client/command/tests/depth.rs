//! Commands that nest deep.

use super::*;

/// A publish whose data nests so deep.
fn nested(depth: usize, open: &str, close: &str) -> String {
    format!(r#"{{"id":1,"publish":{{"channel":"a","data":{}1{}}}}}"#, open.repeat(depth), close.repeat(depth))
}

#[test]
fn depth_is_limited_with_the_commands_own_levels_counted() {
    read(&nested(JSON_DEPTH - 2, "[", "]"));
    let too_deep = Malformed::Json(JsonError::TooDeep { max_depth: JSON_DEPTH }).into();
    assert_eq!(fault(nested(JSON_DEPTH - 1, "[", "]").as_bytes()), too_deep);
    assert_eq!(fault(nested(JSON_DEPTH - 1, r#"{"a":"#, "}").as_bytes()), too_deep);
}

#[test]
fn nesting_of_a_hundred_thousand_levels_costs_no_stack() {
    const DEPTH: usize = 100_000;
    let too_deep = Malformed::Json(JsonError::TooDeep { max_depth: JSON_DEPTH }).into();
    for line in [
        nested(DEPTH, "[", "]"),
        nested(DEPTH, r#"{"a":"#, "}"),
        "[".repeat(DEPTH),
        r#"{"id":"#.repeat(DEPTH),
        format!(r#"{{"later":{}"#, "[".repeat(DEPTH)),
    ] {
        assert_eq!(fault(line.as_bytes()), too_deep);
        // Without our limit, the parser's own way through raw values must not need the stack either.
        let _ = decode(line.as_bytes(), usize::MAX);
    }
}

#[test]
fn brackets_inside_strings_do_not_count_as_depth() {
    let line = format!(r#"{{"id":1,"publish":{{"channel":"\"{}","data":"\\"}}}}"#, "[{".repeat(1000));
    read(&line);
}

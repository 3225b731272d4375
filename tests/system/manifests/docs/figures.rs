//! Every figure in the tables of costs is in the dated file that its row names, in the digits that the page gives.

use std::sync::LazyLock;

use regex::Regex;

use super::blocks::text;

/// The pages with such tables, from the top of the repository.
const PAGES: [&str; 2] = ["services/gateway/docs/sizing.md", "services/gateway/docs/architecture.md"];
const RESULTS: &str = "tests/bench/results";
static LINK: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"\[[^\]]*\]\([./]*tests/bench/results/([\w.-]+)\)").unwrap());
/// With commas between thousands, as in `1,001,700`.
static NUMBER: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"\d+(?:,\d{3})*(?:\.\d+)?").unwrap());
/// Between the unit of a page and that of a file: milliseconds and seconds, bytes and KB.
const SCALES: [f64; 3] = [1.0, 1_000.0, 0.001];

fn value(number: &str) -> f64 {
    number.replace(',', "").parse().unwrap()
}

/// Half of the last digit that a page gives: 351,000 stands for 350,500 to 351,500.
fn tolerance(number: &str) -> f64 {
    let plain = number.replace(',', "");
    let digit = match plain.split_once('.') {
        Some((_, decimals)) => -i32::try_from(decimals.len()).unwrap(),
        None => i32::try_from(plain.len() - plain.trim_end_matches('0').len()).unwrap(),
    };
    0.5001 * 10_f64.powi(digit)
}

fn is_in(number: &str, measured: &[f64]) -> bool {
    let value = value(number);
    let tolerance = tolerance(number);
    SCALES.iter().any(|scale| measured.iter().any(|measured| (measured * scale - value).abs() <= tolerance))
}

#[test]
fn every_figure_of_a_table_is_in_the_dated_file_of_its_row() {
    let mut wrong = Vec::new();
    let mut checked = 0;
    for page in PAGES {
        let text = text(page);
        let mut file = None;
        for line in text.lines() {
            let Some(row) = line.strip_prefix('|') else {
                file = None;
                continue;
            };
            // A row without a file of its own has that of the row above.
            file = LINK.captures(row).map(|found| found[1].to_owned()).or(file);
            let Some(file) = &file else { continue };
            let measured: Vec<f64> = NUMBER
                .find_iter(&super::blocks::text(&format!("{RESULTS}/{file}")))
                .map(|number| value(number.as_str()))
                .collect();
            // The first cell says what was measured.
            let (_, cells) = row.split_once('|').unwrap_or_default();
            let cells = LINK.replace_all(cells, "");
            for number in NUMBER.find_iter(&cells).map(|number| number.as_str()) {
                checked += 1;
                if !is_in(number, &measured) {
                    wrong.push(format!("{page}: {number} is not in {file}: {line}"));
                }
            }
        }
    }
    assert!(checked > 40, "the tables have their figures: {checked}");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

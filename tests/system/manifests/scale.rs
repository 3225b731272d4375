//! `services/gateway/docs/scale.md`: every test and every dated file that a claim names is there, and every claim names one.

use std::fs;

use gorani_tests::binary;

const PAGE: &str = "services/gateway/docs/scale.md";

fn page() -> String {
    fs::read_to_string(binary::workspace().join(PAGE)).unwrap()
}

/// The cells of the tables' last column, which names what shows the row's claim.
fn proofs(page: &str) -> Vec<&str> {
    let rows = page.lines().filter(|line| line.starts_with("| ") && !line.ends_with("| shown by |"));
    rows.map(|row| row.trim_end_matches('|').rsplit('|').next().unwrap_or_default().trim()).collect()
}

#[test]
fn every_claim_of_the_page_names_a_test_or_a_dated_file_that_exists() {
    let page = page();
    let proofs = proofs(&page);
    assert!(proofs.len() > 20, "the page has its rows");
    for proof in proofs {
        let names: Vec<&str> = proof.split('`').skip(1).step_by(2).collect();
        assert!(!names.is_empty(), "nothing shows this: {proof}");
        for name in names {
            assert!(is_there(name), "there is no {name}");
        }
    }
}

#[test]
fn every_file_that_the_page_links_to_exists() {
    let page = page();
    let directory = binary::workspace().join(PAGE).parent().unwrap().to_owned();
    let links: Vec<&str> = page.split("](").skip(1).filter_map(|rest| rest.split(')').next()).collect();
    assert!(!links.is_empty());
    for link in links {
        assert!(directory.join(link).exists(), "there is no {link}");
    }
}

/// A test as `path::name`, or a file by its path.
fn is_there(name: &str) -> bool {
    let file = |path: &str| fs::read_to_string(binary::workspace().join(path)).ok();
    match name.split_once("::") {
        None => file(name).is_some(),
        Some((path, test)) => {
            let heads = [format!("fn {test}("), format!("fn {test}<")];
            file(path).is_some_and(|text| heads.iter().any(|head| text.contains(head)))
        }
    }
}

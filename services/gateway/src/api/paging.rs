//! Pages of `presence`, `channels` and `connections`: how many entries, after which name, and the cursor of the next one.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};

use crate::{
    api::{error::ApiError, value::TextField},
    hub::scan::ScanPage,
};

/// Entries of one page of channels, connections or presence at most.
pub const PAGE_MAX: u32 = 1000;
/// Entries of a page where the request says nothing.
pub(super) const PAGE_DEFAULT: u32 = 100;

/// The name after which a page begins, and how many it holds.
pub(super) fn page(cursor: &TextField<'_>, limit: Option<u32>) -> Result<(String, usize), ApiError> {
    let limit = match limit.unwrap_or_default() {
        0 => PAGE_DEFAULT,
        limit if limit <= PAGE_MAX => limit,
        _ => {
            return Err(ApiError::bad_request(format!(
                "limit: at most {PAGE_MAX} a page; go on with cursor"
            )));
        }
    };
    let after = BASE64.decode(&**cursor).ok().and_then(|name| String::from_utf8(name).ok());
    let after = after.ok_or_else(|| ApiError::bad_request("cursor: not one that this API gave"))?;
    Ok((after, limit as usize))
}

/// The cursor of the page after this name.
pub fn cursor_after(name: &str) -> String {
    BASE64.encode(name)
}

/// Cuts a page to its size; with the cursor of the next one, if there may be more, and false if it is shorter than it might be.
pub(super) fn to_page<T>(found: ScanPage<T>, limit: usize) -> (Vec<(String, T)>, Option<String>, bool) {
    let mut page: Vec<_> = found.entries.into_iter().collect();
    let is_full = page.len() > limit;
    page.truncate(limit);
    let next = if is_full { page.last().map(|(name, _)| name) } else { found.cut_at.as_ref() };
    let next = next.map(|name| cursor_after(name));
    (page, next, is_full || found.cut_at.is_none())
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
/// True for `complete` where it says nothing.
pub(super) fn is_true(value: &bool) -> bool {
    *value
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(names: &[&str], cut_at: Option<&str>) -> ScanPage<()> {
        let entries = names.iter().map(|name| ((*name).to_owned(), ())).collect();
        ScanPage { entries, cut_at: cut_at.map(str::to_owned) }
    }

    #[test]
    fn a_page_that_was_cut_says_so_and_goes_on_where_it_was() {
        for (found, listed, next, complete) in [
            (found(&["a", "b"], None), 2, None, true),
            (found(&["a", "b", "c"], None), 2, Some("b"), true),
            (found(&["a", "b", "c"], Some("x")), 2, Some("b"), true),
            (found(&["a"], Some("x")), 1, Some("x"), false),
            (found(&[], Some("x")), 0, Some("x"), false),
            (found(&[], None), 0, None, true),
        ] {
            let (page, cursor, is_complete) = to_page(found, 2);
            assert_eq!((page.len(), is_complete), (listed, complete));
            assert_eq!(cursor, next.map(cursor_after));
        }
    }
}

//! The page that old browsers load into a hidden frame to reach another origin's server. `docs/protocols/sockjs.md` §1.3 to §1.5.

/// Seconds for which the page may be kept.
pub const MAX_AGE_S: u64 = 31_536_000;

/// True if a name is one of the page's: `iframe`, anything of digits, lower-case letters, `-`, `.` and `_`, `.html`. Clients put
/// their version there, so that no cache hands them the page of another one.
#[must_use]
pub fn is_name(name: &str) -> bool {
    let version = name.strip_prefix("iframe").and_then(|rest| rest.strip_suffix(".html"));
    let is_version_byte =
        |byte: u8| byte.is_ascii_digit() || byte.is_ascii_lowercase() || matches!(byte, b'-' | b'.' | b'_');
    version.is_some_and(|version| version.bytes().all(is_version_byte))
}

/// The page, and what identifies it to caches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IframePage {
    /// The HTML; no newline at its end.
    pub body: String,
    /// Its `ETag`, quoted.
    pub etag: String,
}

impl IframePage {
    /// The page that loads the client library from this URL. The library must have the version of the page's, or it refuses to
    /// work ("Incompatible SockJS!").
    #[must_use]
    pub fn new(sockjs_url: &str) -> Self {
        let url = escape_attribute(sockjs_url);
        let body = format!(
            r#"<!DOCTYPE html>
<html>
<head>
  <meta http-equiv="X-UA-Compatible" content="IE=edge" />
  <meta http-equiv="Content-Type" content="text/html; charset=UTF-8" />
  <script src="{url}"></script>
  <script>
    document.domain = document.domain;
    SockJS.bootstrap_iframe();
  </script>
</head>
<body>
  <h2>Don't panic!</h2>
  <p>This is a SockJS hidden iframe. It's used for cross domain magic.</p>
</body>
</html>"#
        );
        let etag = format!("\"{}\"", sha1_smol::Sha1::from(&body).digest());
        Self { body, etag }
    }

    /// True if an `If-None-Match` names this page: 304 then.
    #[must_use]
    pub fn is_known(&self, if_none_match: &str) -> bool {
        if_none_match.split(',').map(str::trim).any(|tag| {
            // A cache or a compressing proxy may have made the tag a weak one.
            tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == self.etag
        })
    }
}

fn escape_attribute(url: &str) -> String {
    url.replace('&', "&amp;").replace('"', "&quot;").replace('<', "&lt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    const URL: &str = "https://cdn.example.com/sockjs-1.6.1.min.js";

    #[test]
    fn item_3_the_page_has_the_bytes_that_the_protocol_fixes() {
        let IframePage { body, .. } = IframePage::new(URL);
        assert!(body.starts_with(
            "<!DOCTYPE html>\n<html>\n<head>\n  <meta http-equiv=\"X-UA-Compatible\" content=\"IE=edge\" />\n"
        ));
        assert!(body.contains(&format!(
            "\n  <script src=\"{URL}\"></script>\n  <script>\n    document.domain = document.domain;\n    SockJS.bootstrap_iframe();\n  </script>\n"
        )));
        assert!(body.ends_with("It's used for cross domain magic.</p>\n</body>\n</html>"));
        // The digest of the page as the specification shows it, without a URL.
        assert_eq!(IframePage::new("").etag, "\"07cf9a990b175d4cd46ded8e3bd1835eeb58a8ba\"");
    }

    #[test]
    fn item_3_the_tag_is_the_pages_own_and_is_found_in_lists() {
        let page = IframePage::new(URL);
        let other = IframePage::new("/sockjs.js");
        assert_ne!(page.etag, other.etag);
        assert!(page.etag.starts_with('"') && page.etag.ends_with('"'));
        for known in
            [page.etag.clone(), format!("\"x\", {}", page.etag), format!("W/{}", page.etag), "*".to_owned()]
        {
            assert!(page.is_known(&known), "{known}");
        }
        assert!(!page.is_known(&other.etag));
        assert!(!page.is_known(""));
    }

    #[test]
    fn the_url_of_the_library_stays_within_its_attribute() {
        assert!(IframePage::new("/a\"><script>&b").body.contains("src=\"/a&quot;>&lt;script>&amp;b\""));
    }
}

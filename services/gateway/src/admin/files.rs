//! The files of the admin page, embedded in the binary. They need no login: only data do.

use std::sync::LazyLock;

use actix_web::{
    HttpRequest, HttpResponse,
    http::header::{self, EntityTag, Header, IfNoneMatch},
    web::{self, ServiceConfig},
};
use aws_lc_rs::digest::{SHA256, digest};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

/// The page takes everything from its own node, and no script makes markup of text.
pub const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; \
     form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'";

const HTML: &str = "text/html; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";
const TEXT: &str = "text/plain; charset=utf-8";
const IMAGE: &str = "image/svg+xml";

/// A file of the page.
struct AdminAsset {
    name: &'static str,
    content_type: &'static str,
    content: &'static [u8],
}

macro_rules! assets {
    ($($name:literal: $content_type:expr),+ $(,)?) => {
        &[$(AdminAsset { name: $name, content_type: $content_type, content: include_bytes!(concat!("../../assets/admin/", $name)) }),+]
    };
}

/// The page itself comes first.
static ASSETS: &[AdminAsset] = assets![
    "index.html": HTML,
    "api.js": SCRIPT,
    "base.js": SCRIPT,
    "chart.js": SCRIPT,
    "dialog.js": SCRIPT,
    "favicon.svg": IMAGE,
    "keys.js": SCRIPT,
    "main.js": SCRIPT,
    "parts.css": STYLE,
    "parts.js": SCRIPT,
    "route.js": SCRIPT,
    "shell.js": SCRIPT,
    "strings/en.js": SCRIPT,
    "strings/ko.js": SCRIPT,
    "style.css": STYLE,
    "table.js": SCRIPT,
    "tail.js": SCRIPT,
    "text.js": SCRIPT,
    "theme.js": SCRIPT,
    "vendor/hooks.js": SCRIPT,
    "vendor/htm.LICENSE.txt": TEXT,
    "vendor/htm.js": SCRIPT,
    "vendor/preact.LICENSE.txt": TEXT,
    "vendor/preact.js": SCRIPT,
    "vendor/uplot.LICENSE.txt": TEXT,
    "vendor/uplot.css": STYLE,
    "vendor/uplot.js": SCRIPT,
    "views/audit.js": SCRIPT,
    "views/broker.js": SCRIPT,
    "views/channel.js": SCRIPT,
    "views/channels.js": SCRIPT,
    "views/connection.js": SCRIPT,
    "views/connections.js": SCRIPT,
    "views/disconnects.js": SCRIPT,
    "views/explain.js": SCRIPT,
    "views/login.js": SCRIPT,
    "views/logs.js": SCRIPT,
    "views/nodes.js": SCRIPT,
    "views/overview.js": SCRIPT,
    "views/settings.js": SCRIPT,
    "views/slow.js": SCRIPT,
    "views/traces.js": SCRIPT,
    "views/try.js": SCRIPT,
    "views/user.js": SCRIPT,
];

/// The tags of the files, in their order, made when the first one is asked for.
static TAGS: LazyLock<Vec<EntityTag>> =
    LazyLock::new(|| ASSETS.iter().map(|asset| tag(asset.content)).collect());

/// The tag changes with the content, so that all nodes of one version give the same.
fn tag(content: &[u8]) -> EntityTag {
    let hash = digest(&SHA256, content);
    EntityTag::new_strong(URL_SAFE_NO_PAD.encode(&hash.as_ref()[..16]))
}

/// The page at `/` and its files at `/assets/…`, inside the scope of the setting `admin.path`.
pub fn routes(config: &mut ServiceConfig) {
    config
        .route("", web::get().to(|request: HttpRequest| std::future::ready(with_slash(&request))))
        .route("/", web::get().to(|request: HttpRequest| std::future::ready(file(&request, "index.html"))))
        .route(
            "/assets/{name:.*}",
            web::get().to(|request: HttpRequest, name: web::Path<String>| {
                std::future::ready(file(&request, &name))
            }),
        );
}

/// The page names its files and the API relative to its own address, which therefore ends with a slash.
fn with_slash(request: &HttpRequest) -> HttpResponse {
    let last = request.path().rsplit('/').next().unwrap_or_default();
    HttpResponse::PermanentRedirect().insert_header((header::LOCATION, format!("{last}/"))).finish()
}

fn file(request: &HttpRequest, name: &str) -> HttpResponse {
    let Some((asset, tag)) = ASSETS.iter().zip(TAGS.iter()).find(|(asset, _)| asset.name == name) else {
        return HttpResponse::NotFound().finish();
    };
    let mut response = if is_known(request, tag) { HttpResponse::NotModified() } else { HttpResponse::Ok() };
    response
        .insert_header((header::ETAG, tag.to_string()))
        .insert_header((header::CACHE_CONTROL, "no-cache"))
        .insert_header((header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY))
        .insert_header((header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .insert_header((header::REFERRER_POLICY, "no-referrer"))
        .insert_header((header::CROSS_ORIGIN_OPENER_POLICY, "same-origin"));
    if is_known(request, tag) {
        return response.finish();
    }
    response.content_type(asset.content_type).body(asset.content)
}

/// True if the browser has this content already.
fn is_known(request: &HttpRequest, tag: &EntityTag) -> bool {
    match IfNoneMatch::parse(request) {
        Ok(IfNoneMatch::Any) => request.headers().contains_key(header::IF_NONE_MATCH),
        Ok(IfNoneMatch::Items(tags)) => tags.iter().any(|known| known.weak_eq(tag)),
        Err(_) => false,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use std::{collections::BTreeSet, fs, path::Path};

    use actix_web::{
        App,
        body::to_bytes,
        dev::ServiceResponse,
        http::StatusCode,
        test::{TestRequest, call_service, init_service},
    };

    use super::*;

    async fn answer(path: &str, known: Option<&str>) -> ServiceResponse {
        let app = init_service(App::new().service(web::scope("/admin").configure(routes))).await;
        let mut request = TestRequest::get().uri(path);
        if let Some(tag) = known {
            request = request.insert_header((header::IF_NONE_MATCH, tag));
        }
        call_service(&app, request.to_request()).await
    }

    fn header_of(response: &ServiceResponse, name: header::HeaderName) -> String {
        response.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
    }

    /// The names of all files below a directory, relative to it.
    fn names(root: &Path, below: &str) -> BTreeSet<String> {
        let entries = fs::read_dir(root.join(below)).unwrap();
        entries
            .flat_map(|entry| {
                let entry = entry.unwrap();
                let name = format!("{below}{}", entry.file_name().into_string().unwrap());
                if entry.path().is_dir() { names(root, &format!("{name}/")) } else { BTreeSet::from([name]) }
            })
            .collect()
    }

    #[test]
    fn every_file_of_the_directory_is_embedded_but_the_lists() {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/admin");
        let mut expected = names(&directory, "");
        assert!(expected.remove("vendor/vendor.toml") && expected.remove("README.md"));
        assert_eq!(ASSETS.iter().map(|asset| asset.name.to_owned()).collect::<BTreeSet<_>>(), expected);
    }

    #[test]
    fn page_and_libraries_are_under_240_kb() {
        let total: usize =
            ASSETS.iter().filter(|asset| asset.content_type != TEXT).map(|asset| asset.content.len()).sum();
        assert!(total < 240 * 1024, "{total} bytes");
    }

    #[test]
    fn no_two_files_have_the_same_tag() {
        let tags: BTreeSet<String> = TAGS.iter().map(ToString::to_string).collect();
        assert_eq!(tags.len(), ASSETS.len());
    }

    #[actix_web::test]
    async fn the_page_is_at_the_slash_and_its_address_without_one_leads_there() {
        let response = answer("/admin/", None).await;
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(header_of(&response, header::CONTENT_TYPE), HTML);
        let response = answer("/admin", None).await;
        assert_eq!(response.status(), StatusCode::PERMANENT_REDIRECT);
        assert_eq!(header_of(&response, header::LOCATION), "admin/");
    }

    #[actix_web::test]
    async fn every_file_comes_with_the_policy_and_is_asked_for_again_by_its_tag() {
        for asset in ASSETS {
            let path = format!("/admin/assets/{}", asset.name);
            let response = answer(&path, None).await;
            assert_eq!(response.status(), StatusCode::OK, "{path}");
            assert_eq!(header_of(&response, header::CONTENT_SECURITY_POLICY), CONTENT_SECURITY_POLICY);
            assert_eq!(header_of(&response, header::CACHE_CONTROL), "no-cache");
            assert_eq!(header_of(&response, header::X_CONTENT_TYPE_OPTIONS), "nosniff");
            assert_eq!(header_of(&response, header::REFERRER_POLICY), "no-referrer");
            assert_eq!(header_of(&response, header::CROSS_ORIGIN_OPENER_POLICY), "same-origin");
            let tag = header_of(&response, header::ETAG);
            assert_eq!(to_bytes(response.into_body()).await.unwrap(), asset.content);
            let again = answer(&path, Some(&tag)).await;
            assert_eq!(again.status(), StatusCode::NOT_MODIFIED, "{path}");
            assert!(to_bytes(again.into_body()).await.unwrap().is_empty());
            assert_eq!(answer(&path, Some("\"other\"")).await.status(), StatusCode::OK);
        }
    }

    #[actix_web::test]
    async fn a_name_that_is_no_file_is_not_found() {
        for name in
            ["", "missing.js", "../admin/index.html", "vendor/vendor.toml", "%2e%2e/style.css", "README.md"]
        {
            assert_eq!(
                answer(&format!("/admin/assets/{name}"), None).await.status(),
                StatusCode::NOT_FOUND,
                "{name}"
            );
        }
    }
}

//! The files of the page, and the policy that they are sent with.

use std::sync::LazyLock;

use super::measures::filled;

/// Content security policy of the page: everything comes from this server, and nothing may frame it.
pub(crate) const CONTENT_SECURITY_POLICY: &str =
    "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; object-src 'none'";

/// A file of the page.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asset {
    /// Path of the URL at which the file is requested.
    pub path: &'static str,
    /// Media type of the file.
    pub content_type: &'static str,
    /// Text of the file.
    pub body: &'static str,
}

const SCRIPT: &str = "text/javascript; charset=utf-8";

static PAGE: LazyLock<String> = LazyLock::new(|| filled(include_str!("index.html")));

/// Returns all files of the page.
pub(crate) fn assets() -> [Asset; 8] {
    [
        Asset { path: "/", content_type: "text/html; charset=utf-8", body: PAGE.as_str() },
        Asset { path: "/page.css", content_type: "text/css; charset=utf-8", body: include_str!("page.css") },
        Asset { path: "/page.js", content_type: SCRIPT, body: include_str!("page.js") },
        Asset { path: "/choice.js", content_type: SCRIPT, body: include_str!("choice.js") },
        Asset { path: "/ask.js", content_type: SCRIPT, body: include_str!("ask.js") },
        Asset { path: "/plot.js", content_type: SCRIPT, body: include_str!("plot.js") },
        Asset { path: "/words.js", content_type: SCRIPT, body: include_str!("words.js") },
        Asset { path: "/icon.svg", content_type: "image/svg+xml", body: include_str!("icon.svg") },
    ]
}

#[cfg(test)]
mod tests {
    use lake_schemas::Code;
    use query::totals::dimensions;

    use super::*;

    /// Returns the values of an attribute in a text.
    fn values<'a>(text: &'a str, attribute: &str) -> Vec<&'a str> {
        let opening = format!(" {attribute}=\"");
        text.split(opening.as_str()).skip(1).filter_map(until_quote).collect()
    }

    fn until_quote(text: &str) -> Option<&str> {
        text.split('"').next()
    }

    #[test]
    fn the_page_asks_for_its_own_files_alone() {
        let assets = assets();
        let [page, ..] = assets;
        let mut asked = [values(page.body, "src"), values(page.body, "href")].concat();
        asked.extend(assets.iter().flat_map(|asset| asset.body.split(" from \"./").skip(1)).filter_map(until_quote));
        for file in asked.into_iter().filter(|file| !["./", "openapi.json"].contains(file)) {
            assert!(assets.iter().any(|asset| asset.path.strip_prefix('/') == Some(file)), "{file} is not there");
        }
        for Asset { path, body, .. } in assets {
            let foreign = body.replace("http://www.w3.org/2000/svg", "");
            assert!(!foreign.contains("://") && !foreign.contains("url("), "{path} names another origin");
        }
    }

    #[test]
    fn nothing_in_the_page_is_inline() {
        let [page, ..] = assets();
        for inline in ["<style", " style=", "<script>", " onclick=", " onload=", "javascript:"] {
            assert!(!page.body.contains(inline), "the policy does not let {inline} through");
        }
    }

    #[test]
    fn every_place_in_the_page_is_filled() {
        let [page, ..] = assets();
        assert!(!page.body.contains("{{") && page.body.matches("data-measure=").count() > 2, "{}", page.body);
        assert!(page.body.contains("<option>minute</option>"), "{}", page.body);
    }

    #[test]
    fn the_page_knows_the_code_by_which_a_dimension_is_refused() {
        let code = format!("const NOT_COUNTED = \"{}\";", Code::DimensionNotCounted);
        assert!(assets().iter().any(|asset| asset.body.contains(&code)), "it is {code}");
    }

    /// The server says at `/v1/dimensions` which there are.
    #[test]
    fn no_file_of_the_page_names_a_dimension() {
        for (Asset { path, body, .. }, dimension) in
            assets().into_iter().flat_map(|asset| dimensions().map(move |dimension| (asset, dimension)))
        {
            let name = dimension.column();
            let ways = [format!("\"{name}\""), format!("'{name}'"), format!(".{name}"), format!(">{name}<")];
            for way in ways {
                assert!(!body.contains(&way), "{path} names a dimension: {way}");
            }
        }
    }
}

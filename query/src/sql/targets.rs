//! Takes the paths that `COPY` writes to literally.
//!
//! DataFusion takes a path with `?`, `*` or `[` anywhere in it for a pattern, and puts files into the folder before.
//! For reading that is useful; a write would go somewhere else than it was told to, and might bypass the guard of the
//! lake. So paths become URLs, in which only `%` has a meaning.

use std::path::{Path, absolute};

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::error::Result;
use datafusion::logical_expr::LogicalPlan;
use datafusion::optimizer::AnalyzerRule;
use url::{ParseError, Url};

use super::guard::resolved;

/// Analyzer rule that makes URLs of the paths that plans write to.
#[derive(Debug)]
pub(crate) struct LiteralTargets;

impl AnalyzerRule for LiteralTargets {
    fn name(&self) -> &'static str {
        "literal_targets"
    }

    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        let literal = plan.transform_down(|plan| {
            let LogicalPlan::Copy(mut copy) = plan else { return Ok(Transformed::no(plan)) };
            let address = address_of(&copy.output_url);
            let Some(address) = address else { return Ok(Transformed::no(LogicalPlan::Copy(copy))) };
            copy.output_url = address;
            Ok(Transformed::yes(LogicalPlan::Copy(copy)))
        });
        Ok(literal?.data)
    }
}

/// Converts a path to a URL; `None` if it is a URL already.
fn address_of(target: &str) -> Option<String> {
    let path = Path::new(target);
    if !path.is_absolute() && Url::parse(target) != Err(ParseError::RelativeUrlWithoutBase) {
        return None;
    }
    let path = resolved(&absolute(path).ok()?);
    // The target is one file, unless it ends like a folder, or is one.
    let is_folder = target.ends_with('/') || path.is_dir();
    let url = if is_folder { Url::from_directory_path(&path) } else { Url::from_file_path(&path) };
    url.ok().map(Into::into)
}

#[cfg(test)]
mod tests {
    use datafusion::prelude::SessionContext;

    use super::*;

    #[test]
    fn a_path_becomes_an_address_and_an_address_stays() {
        let here = std::env::current_dir().expect("a folder").canonicalize().expect("it is there");
        let at = |path: &str| Url::from_file_path(here.join(path)).expect("a path").to_string();
        assert_eq!(address_of("a 50%25?[b]*.csv"), Some(at("a 50%25?[b]*.csv")));
        assert_eq!(address_of("./new/../a.csv"), Some(at("a.csv")));
        assert_eq!(address_of("/"), Some("file:///".to_owned()));
        for address in ["s3://bucket/a.csv", "file:///tmp/a.csv", "clicklake://lake/a"] {
            assert_eq!(address_of(address), None, "{address}");
        }
    }

    #[tokio::test]
    async fn a_file_is_written_where_its_path_says() {
        let folder = std::env::temp_dir().join("clicklake-targets l 50% #1?x=ü&y=[q]*;+%25 '日本'");
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).expect("a folder");
        let context = SessionContext::new();
        context.add_analyzer_rule(std::sync::Arc::new(LiteralTargets));
        let file = folder.join("out?.csv");
        let quoted = file.to_str().expect("UTF-8").replace('\'', "''");
        context
            .sql(&format!("copy (select 1 as one) to '{quoted}'"))
            .await
            .expect("a plan")
            .collect()
            .await
            .expect("it is written");
        assert_eq!(std::fs::read_to_string(&file).expect("a file"), "one\n1\n");
        assert_eq!(std::fs::read_dir(&folder).expect("a folder").count(), 1);
        std::fs::remove_dir_all(folder).expect("it is removed");
    }
}

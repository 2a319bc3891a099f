//! Paths of data files: from the way a table's log writes them to their place in the table's store.
//!
//! The log writes them as URLs, which are decoded where the log is read. Delta allows files outside of the table's
//! folder, as shallow clones have them; clicklake writes none, and reads none.

use lake_schemas::Table;
use object_store::path::Path;

/// Begin of the file names that Delta's writers give, and ends of those that clicklake gives: to files of normal size,
/// and to small ones.
const OWN_BEGIN: &str = "part-";
pub(crate) const OWN_ENDS: [&str; 2] = [".clicklake.zstd.parquet", ".small.snappy.parquet"];

/// End of clicklake's file names before they differed from those of every program that writes with delta-rs.
const EARLIER_END: &str = "-c000.zstd.parquet";

/// End of the name of every data file.
const DATA_END: &str = ".parquet";

/// Number of characters in a name that a promotion gives: 128 bits in hexadecimal.
const COPY_CHARS: usize = 32;

/// Returns the path of a file in the store of its table; `None` if it lies outside of the table's folder.
pub fn path_of(path: &str) -> Option<Path> {
    let is_outside = path.starts_with('/') || path.contains(':');
    (!is_outside).then(|| Path::parse(path).ok()).flatten()
}

/// Returns whether an object may be a data file of any program: it is not hidden, as names with a leading `_` or `.`
/// are, and it is Parquet.
pub(crate) fn may_be_data(path: &Path) -> bool {
    let is_hidden = path.parts().any(|part| part.as_ref().starts_with(['_', '.']));
    !is_hidden && path.as_ref().ends_with(DATA_END)
}

/// Returns whether an object has a name and lies in a folder as clicklake gives them to the data files of this table.
pub fn is_own(table: Table, path: &Path) -> bool {
    let parts: Vec<_> = path.parts().collect();
    let Some((name, folders)) = parts.split_last() else { return false };
    let columns = table.partition_columns();
    let is_of = |(folder, column): (&object_store::path::PathPart<'_>, &&str)| {
        folder.as_ref().strip_prefix(column).is_some_and(|value| value.starts_with('='))
    };
    let are_ours = folders.len() == columns.len() && folders.iter().zip(columns).all(is_of);
    let name = name.as_ref();
    let is_copy = name.strip_suffix(DATA_END).is_some_and(|id| {
        id.len() == COPY_CHARS && id.bytes().all(|byte| byte.is_ascii_hexdigit() && !byte.is_ascii_uppercase())
    });
    are_ours && (is_copy || name.starts_with(OWN_BEGIN) && OWN_ENDS.iter().any(|end| name.ends_with(end)))
}

/// Returns whether a data file may be one that clicklake wrote before its files had names of their own. It may also be
/// a file of another program that writes with delta-rs.
pub fn may_be_earlier(path: &Path) -> bool {
    path.filename().is_some_and(|name| name.starts_with(OWN_BEGIN) && name.ends_with(EARLIER_END))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(path: &str) -> Path {
        Path::parse(path).expect("a path")
    }

    #[test]
    fn files_outside_of_the_table_are_none_of_its_own() {
        let inside = "date=2026-03-07/hour=12/part-0.parquet";
        assert_eq!(path_of(inside), Some(path(inside)));
        for outside in ["s3://bucket/a.parquet", "/tmp/a.parquet", "file:/tmp/a.parquet", "a//b"] {
            assert_eq!(path_of(outside), None, "{outside}");
        }
    }

    #[test]
    fn names_and_folders_of_others_are_told_from_our_own() {
        let part = "part-00000-8d3a6b1e-6a2b-4f2e-9d0c-2f6f5b1f8f5e-c000.clicklake.zstd.parquet";
        let small = "part-00000-8d3a6b1e-6a2b-4f2e-9d0c-2f6f5b1f8f5e-c000.small.snappy.parquet";
        let copy = "0123456789abcdef0123456789abcdef.parquet";
        for name in [part, small, copy] {
            assert!(is_own(Table::ClicksMinute, &path(&format!("date=2026-03-07/hour=12/{name}"))), "{name}");
            for folder in
                ["date=2026-03-07", "date=2026-03-07/hour=12/more", "hour=12/date=2026-03-07", "_x/hour=12", "."]
            {
                let other = if folder == "." { name.to_owned() } else { format!("{folder}/{name}") };
                assert!(!is_own(Table::ClicksMinute, &path(&other)), "{other}");
            }
        }
        let spark = "part-00000-8d3a6b1e-6a2b-4f2e-9d0c-2f6f5b1f8f5e.c000.snappy.parquet";
        let delta_rs = "part-00000-8d3a6b1e-6a2b-4f2e-9d0c-2f6f5b1f8f5e-c000.snappy.parquet";
        let zstd = "part-00000-8d3a6b1e-6a2b-4f2e-9d0c-2f6f5b1f8f5e-c000.zstd.parquet";
        assert!(
            may_be_earlier(&path(zstd)) && ![part, small, copy, spark].iter().any(|name| may_be_earlier(&path(name)))
        );
        for name in [
            spark,
            delta_rs,
            zstd,
            "0123.parquet",
            "0123456789ABCDEF0123456789ABCDEF.parquet",
            "manifest",
            "readme.txt",
        ] {
            assert!(!is_own(Table::Clicks, &path(&format!("log_date=2026-03-07/{name}"))), "{name}");
        }
    }

    #[test]
    fn hidden_objects_and_those_of_another_kind_are_no_data() {
        assert!(may_be_data(&path("log_date=2026-03-07/part-0.c000.snappy.parquet")));
        for other in ["_change_data/a.parquet", "log_date=1/.a.parquet", "deletion_vector_1.bin", "metadata/v1.json"] {
            assert!(!may_be_data(&path(other)), "{other}");
        }
    }
}

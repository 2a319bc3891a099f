//! The data files of a table of counts at a version, with the windows and the range of ads that each holds, by its
//! statistics. No I/O.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::sync::{Arc, OnceLock};

use arrow::array::RecordBatch;
use chrono::DateTime;
use deltalake::kernel::Add;
use lake_schemas::table::{Version, column};
use lake_schemas::{Code, Folder, Table};
use lake_store::commit::without_deleted_rows;
use lake_store::path::path_of;
use lake_store::{LakeError, Statistics};
use object_store::ObjectMeta;
use object_store::path::Path;
use serde_json::Value;

use super::interval_set::IntervalSet;

/// Columns, besides the window's start, whose smallest and largest values are kept for a file, if it states them.
pub(crate) const BOUNDED_COLUMNS: [&str; 2] = [column::AD_ID, column::CAMPAIGN_ID];

/// A data file of counts.
#[derive(Debug)]
pub(crate) struct File {
    /// Path, size and age in the store of the lake.
    pub object: ObjectMeta,
    /// Range from the first window of the file to behind its last, as far as is known, in milliseconds.
    pub windows: Range<i64>,
    /// Smallest and largest value of each of [`BOUNDED_COLUMNS`].
    pub bounds: [Option<(String, String)>; BOUNDED_COLUMNS.len()],
    /// Sums of the file's rows over its windows, once that was tried; `None`: they must not be added up. See
    /// [`super::summed`].
    pub sums: OnceLock<Option<RecordBatch>>,
}

impl File {
    /// Returns the sums of the file's rows, if they were added up.
    pub fn sums(&self) -> Option<&RecordBatch> {
        self.sums.get()?.as_ref()
    }

    /// Returns roughly how much memory its description takes, in bytes, without its sums.
    fn bytes(&self) -> usize {
        let of_bounds = self.bounds.iter().flatten().map(|(smallest, largest)| smallest.len() + largest.len());
        size_of::<Self>() + self.object.location.as_ref().len() + of_bounds.sum::<usize>()
    }

    fn of(table: Table, folder: Folder, add: &Add) -> Option<Self> {
        let location = location(table, &add.path)?;
        let last_modified = DateTime::from_timestamp_millis(add.modification_time)?;
        let object = ObjectMeta { location, last_modified, size: add.size.unsigned_abs(), e_tag: None, version: None };
        let statistics = Statistics::of(add);
        let stated = statistics.window_starts().map(|(first, last)| first..table.window_width().end_ms(last));
        let text = |value: &Value| value.as_str().map(str::to_owned);
        Some(Self {
            object,
            windows: stated.unwrap_or(folder.start_ms()..folder.end_ms()),
            bounds: BOUNDED_COLUMNS.map(|name| text(statistics.min(name)).zip(text(statistics.max(name)))),
            sums: OnceLock::new(),
        })
    }
}

/// Live files of a table at a version.
#[derive(Clone, Debug)]
pub(crate) struct Files {
    table: Table,
    version: Version,
    /// Files by the start of their folder, in milliseconds.
    folders: BTreeMap<i64, Vec<Arc<File>>>,
}

impl Files {
    /// Returns roughly how much memory their descriptions take, in bytes, without their sums.
    pub fn bytes(&self) -> usize {
        self.folders.values().flatten().map(|file| size_of::<Arc<File>>() + file.bytes()).sum()
    }

    /// Returns the files that hold any of these windows: first those that hold no others, then the rest.
    pub fn holding(&self, windows: &IntervalSet) -> [Vec<Arc<File>>; 2] {
        let mut holding = [Vec::new(), Vec::new()];
        let Some(span) = windows.span() else { return holding };
        let floor = |time: i64| if time == i64::MIN { time } else { self.table.folder_width().start_ms(time) };
        let folders = self.folders.range(floor(span.start)..span.end);
        for file in folders.flat_map(|(_, files)| files).filter(|file| windows.touch(&file.windows)) {
            let has_others = !windows.cover(&file.windows);
            holding[usize::from(has_others)].push(Arc::clone(file));
        }
        holding
    }
}

/// Live files of a table, followed from version to version.
#[derive(Debug)]
pub(crate) struct LiveFiles {
    /// Shared with the questions that are reading them.
    files: Arc<Files>,
    /// Start of the folder of each file, by its path in the log.
    folder_of: HashMap<String, i64>,
}

impl LiveFiles {
    /// Makes the list of files that are live at a version.
    pub fn new(table: Table, version: Version, live: &[Add]) -> Result<Self, LakeError> {
        let files = Files { table, version, folders: BTreeMap::new() };
        let mut this = Self { files: Arc::new(files), folder_of: HashMap::new() };
        this.follow(version, live, &[])?;
        Ok(this)
    }

    /// Returns the version of the table at which these files are live.
    pub fn version(&self) -> Version {
        self.files.version
    }

    /// Returns all of the files.
    pub fn files(&self) -> Arc<Files> {
        Arc::clone(&self.files)
    }

    /// Goes on to a version that added some files and removed others. After an error the list is of no version.
    pub fn follow(&mut self, version: Version, adds: &[Add], removes: &[String]) -> Result<(), LakeError> {
        let table = self.files.table;
        without_deleted_rows(table, adds)?;
        let files = Arc::make_mut(&mut self.files);
        for path in removes {
            let Some(start) = self.folder_of.remove(path) else { continue };
            let Some(folder) = files.folders.get_mut(&start) else { continue };
            let location = location(table, path);
            folder.retain(|file| Some(&file.object.location) != location.as_ref());
            if folder.is_empty() {
                files.folders.remove(&start);
            }
        }
        for add in adds {
            let found = Folder::named(table, &add.partition_values)
                .and_then(|folder| Some((folder, File::of(table, folder, add)?)));
            let foreign = || {
                LakeError::Refused(
                    Code::FileForeign.because(format!("{table}: {} is not a file as clicklake writes them", add.path)),
                )
            };
            let (folder, file) = found.ok_or_else(foreign)?;
            // A file that is added again is the same file, so it is not listed twice.
            if self.folder_of.insert(add.path.clone(), folder.start_ms()).is_none() {
                files.folders.entry(folder.start_ms()).or_default().push(Arc::new(file));
            }
        }
        files.version = version;
        Ok(())
    }
}

/// Returns the path of a file of a table, in the store of the lake.
pub(crate) fn location(table: Table, path: &str) -> Option<Path> {
    let path = path_of(path)?;
    Some(path.parts().fold(Path::from(table.name()), |folder, part| folder.join(part)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3_600_000;
    const MINUTE: i64 = 60_000;

    /// Makes a file of one hour of 1970-01-01.
    fn add(hour: i64, name: &str, stats: Option<String>) -> Add {
        let values = [("date", "1970-01-01".to_owned()), ("hour", hour.to_string())];
        Add {
            path: format!("date=1970-01-01/hour={hour}/{name}"),
            partition_values: values.map(|(name, value)| (name.to_owned(), Some(value))).into(),
            stats,
            ..Add::default()
        }
    }

    fn names(files: &[Arc<File>]) -> Vec<&str> {
        files.iter().filter_map(|file| file.object.location.filename()).collect()
    }

    #[test]
    fn files_are_found_by_their_windows_and_by_their_folder_if_they_state_none() {
        let stats = "{\"minValues\":{\"window_start\":\"1970-01-01T01:10:00.000Z\",\"ad_id\":\"a\"},\
                      \"maxValues\":{\"window_start\":\"1970-01-01T01:20:00.000Z\",\"ad_id\":\"b\"}}";
        let adds = [add(0, "whole", None), add(1, "some", Some(stats.to_owned())), add(2, "later", None)];
        let files = LiveFiles::new(Table::ClicksMinute, 3, &adds).expect("files").files();
        let holding = |from, to| files.holding(&IntervalSet::one(from..to));
        let [all, part] = holding(30 * MINUTE, HOUR + 21 * MINUTE);
        assert_eq!((names(&all), names(&part)), (vec!["some"], vec!["whole"]));
        let [all, part] = holding(i64::MIN, HOUR + 15 * MINUTE);
        assert_eq!((names(&all), names(&part)), (vec!["whole"], vec!["some"]));
        let [all, part] = holding(HOUR + 21 * MINUTE, 2 * HOUR);
        assert!(all.is_empty() && part.is_empty());
        let [all, _] = holding(HOUR, i64::MAX);
        assert_eq!(all[0].bounds, [Some(("a".to_owned(), "b".to_owned())), None]);
        assert_eq!(all[0].object.location.as_ref(), "clicks_minute/date=1970-01-01/hour=1/some");
    }

    #[test]
    fn what_files_take_grows_with_them_and_with_what_they_state() {
        let bytes = |adds: &[Add]| LiveFiles::new(Table::ClicksMinute, 3, adds).expect("files").files().bytes();
        let stats = "{\"minValues\":{\"ad_id\":\"a\"},\"maxValues\":{\"ad_id\":\"a much longer name\"}}";
        let (plain, stated) = (bytes(&[add(0, "one", None)]), bytes(&[add(0, "one", Some(stats.to_owned()))]));
        assert_eq!(bytes(&[]), 0);
        assert!(plain > 100 && stated == plain + "a".len() + "a much longer name".len(), "{plain}, {stated}");
        assert_eq!(bytes(&[add(0, "one", None), add(1, "two", None)]), 2 * plain);
    }

    #[test]
    fn removed_files_are_gone_but_stay_in_lists_that_were_shared_before() {
        let mut live = LiveFiles::new(Table::ClicksMinute, 3, &[add(0, "one", None)]).expect("files");
        let before = live.files();
        let removes = ["date=1970-01-01/hour=0/one".to_owned()];
        live.follow(4, &[add(0, "two", None), add(0, "two", None)], &removes).expect("files");
        let found = |files: &Files| names(&files.holding(&IntervalSet::one(0..HOUR))[0]).join(" ");
        assert_eq!((found(&before), found(&live.files())), ("one".to_owned(), "two".to_owned()));
        assert_eq!((before.version, live.version()), (3, 4));
    }

    #[test]
    fn a_file_with_deleted_rows_is_refused_with_the_way_out() {
        let vector = r#"{"storageType":"i","pathOrInlineDv":"wi5b","sizeInBytes":40,"cardinality":6}"#;
        let vector = serde_json::from_str(vector).expect("a deletion vector");
        let deleted = Add { deletion_vector: Some(vector), ..add(0, "one", None) };
        let error = LiveFiles::new(Table::ClicksMinute, 0, &[deleted]).expect_err("rows are deleted").to_string();
        assert!(error.contains("hour=0/one") && error.contains("DROP FEATURE deletionVectors"), "{error}");
    }

    #[test]
    fn a_file_that_lies_in_no_folder_is_refused() {
        let error = LiveFiles::new(Table::ClicksDaily, 0, &[add(0, "one", None)]).expect_err("no month").to_string();
        assert!(error.contains("clicks_daily") && error.contains("one"), "{error}");
    }
}

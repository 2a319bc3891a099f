//! Laws of files: whatever the rows are, the number of open files and the memory held are bounded; no row is lost, and
//! none changes its place; no request carries more than a part.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arrow::array::{
    ArrayRef, AsArray, BinaryArray, Date32Array, Int32Array, Int64Array, RecordBatch, StringArray,
    TimestampMicrosecondArray, new_null_array,
};
use arrow::compute::{cast, concat_batches};
use arrow::datatypes::Int64Type;
use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use lake_schemas::Folder;
use lake_schemas::minute::Parameters;
use object_store::memory::InMemory;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStoreExt, PutMultipartOptions,
    PutOptions, PutResult, UploadPart,
};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use tokio::time::sleep;

use super::parts::PART_BYTES;
use super::*;
use crate::read;
use crate::statistics::Statistics;

const HOUR_MS: i64 = 3_600_000;

/// Time of the first hour: 2026-03-07T12:00:00Z.
const NOON_MS: i64 = 1_772_884_800_000;

/// Makes rows of minutes, one for each number, taking these hours in turn. `ad` names the ad of each.
fn minutes(hours: &[i64], numbers: Range<i64>, ad: impl Fn(i64) -> String) -> RecordBatch {
    let schema = Parameters::default().schema(Table::ClicksMinute);
    let hour = |number: i64| hours[usize::try_from(number).expect("small") % hours.len()];
    let folders: Vec<_> =
        numbers.clone().map(|number| Folder::at(Table::ClicksMinute, NOON_MS + hour(number) * HOUR_MS)).collect();
    let columns = schema.fields().iter().map(|field| -> ArrayRef {
        let of_folder = |name: &str| -> ArrayRef {
            let one = folders.iter().map(|folder| folder.column(name, 1).expect("a column of the folder"));
            let one: Vec<_> = one.collect();
            arrow::compute::concat(&one.iter().map(AsRef::as_ref).collect::<Vec<_>>()).expect("one type")
        };
        match field.name().as_str() {
            name @ (column::DATE | column::HOUR) => of_folder(name),
            column::WINDOW_START | column::WINDOW_END => {
                let micros = folders.iter().map(|folder| folder.start_ms() * 1_000);
                Arc::new(TimestampMicrosecondArray::from_iter_values(micros).with_timezone("UTC"))
            }
            column::AD_ID => Arc::new(numbers.clone().map(|number| Some(ad(number))).collect::<StringArray>()),
            column::CAMPAIGN_ID | column::TOPIC | column::PANE => {
                Arc::new(numbers.clone().map(|_| Some("clicks")).collect::<StringArray>())
            }
            column::KAFKA_PARTITION => Arc::new(Int32Array::from(vec![0; folders.len()])),
            column::OFFSET_FIRST => Arc::new(Int64Array::from_iter_values(numbers.clone())),
            _ => cast(&Int64Array::from(vec![1; folders.len()]), field.data_type()).expect("a number"),
        }
    });
    RecordBatch::try_new(Arc::clone(&schema), columns.collect()).expect("the columns of the table")
}

fn numbers_of(file: &DataFile) -> Vec<i64> {
    let bytes = Bytes::from(file.payload.clone());
    assert_eq!(bytes.len() as u64, file.add.size.unsigned_abs());
    let rows = ParquetRecordBatchReaderBuilder::try_new(bytes).expect("Parquet").build().expect("Parquet");
    let rows: Vec<_> = rows.map(|rows| rows.expect("rows")).collect();
    let rows = concat_batches(&rows[0].schema(), &rows).expect("one schema");
    rows[column::OFFSET_FIRST].as_primitive::<Int64Type>().values().to_vec()
}

/// Makes a text that does not compress, the same one for the same number.
fn noise(number: i64) -> String {
    let mut state = number.cast_unsigned().wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let digit = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        char::from(b'0' + u8::try_from(state % 75).expect("small"))
    };
    (0..1_000).map(digit).collect()
}

#[tokio::test]
async fn each_folder_has_its_rows_in_their_order_whatever_lies_between_them() {
    // Rows of three hours in turn, and then of one of them.
    let batches =
        [minutes(&[0, 5, 700], 0..1_000, |_| "one".to_owned()), minutes(&[5], 1_000..1_100, |_| "two".into())];
    let files = encode(Table::ClicksMinute, &batches).await.expect("files");
    let mut found: BTreeMap<i64, Vec<i64>> = BTreeMap::new();
    for file in &files {
        let folder = Folder::named(Table::ClicksMinute, &file.add.partition_values).expect("a folder");
        assert!(found.insert(folder.start_ms(), numbers_of(file)).is_none(), "a folder has one file");
        assert_eq!(Statistics::of(&file.add).window_starts(), Some((folder.start_ms(), folder.start_ms())));
        assert!(file.add.path.starts_with("date=20") && file.add.path.contains("/hour="), "{}", file.add.path);
    }
    let of = |hour: i64| -> Vec<i64> { (0..1_000).filter(|number| number % 3 == hour).collect() };
    let expected = [(0, of(0)), (5, of(1).into_iter().chain(1_000..1_100).collect()), (700, of(2))];
    assert_eq!(found, expected.into_iter().map(|(hour, rows)| (NOON_MS + hour * HOUR_MS, rows)).collect());
}

/// Returns the most memory that this process has held since the last call, in bytes.
#[cfg(target_os = "linux")]
fn peak_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("a status");
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a peak");
    let peak: u64 = peak.trim().trim_end_matches(" kB").parse().expect("a number");
    std::fs::write("/proc/self/clear_refs", "5").expect("it begins anew");
    peak * 1_024
}

/// Environment variable that tells a process to run this one test alone, so that nothing else takes memory.
const ALONE: &str = "CLICKLAKE_TEST_ALONE";

/// Clicks of random times, as whoever may send clicks may send them: a row for each of 5,000 hours.
#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn rows_of_thousands_of_hours_are_encoded_in_bounded_memory() {
    const HOURS: i64 = 5_000;
    if std::env::var_os(ALONE).is_none() {
        let name = "files::tests::rows_of_thousands_of_hours_are_encoded_in_bounded_memory";
        let mut alone = std::process::Command::new(std::env::current_exe().expect("it has a path"));
        let done = alone.args(["--exact", name]).env(ALONE, "1").output().expect("it runs");
        let said = String::from_utf8_lossy(&done.stdout);
        assert!(done.status.success() && said.contains("1 passed"), "{said}");
        return;
    }
    let hours: Vec<_> = (0..HOURS).map(|hour| (hour * 7_919) % HOURS).collect();
    let rows = [minutes(&hours, 0..HOURS, |_| "one".to_owned())];
    peak_bytes();
    let before = peak_bytes();
    let files = encode(Table::ClicksMinute, &rows).await.expect("files");
    let taken = peak_bytes().saturating_sub(before);
    assert_eq!(files.len(), 5_000);
    let chunks: usize = files.iter().map(|file| file.payload.content_length()).sum();
    assert!(taken < 96 * 1024 * 1024, "{taken} bytes were taken for files of {chunks}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_full_goes_on_in_another_and_can_be_put_before_the_next() {
    let mut encoder = Encoder::new(Table::ClicksMinute, Parameters::default().schema(Table::ClicksMinute));
    let (mut files, mut numbers) = (Vec::new(), Vec::new());
    for first in (0..60_000).step_by(5_000) {
        let full = encoder.push(&minutes(&[3], first..first + 5_000, noise)).await.expect("it encodes");
        assert!(full.len() <= 1 || FILE_BYTES < 5_000_000, "a file is given out when it is full");
        files.extend(full);
    }
    assert!(files.len() > 2, "{} files were full before the end", files.len());
    files.extend(encoder.finish().await.expect("it encodes"));
    for file in &files {
        let bytes = file.payload.content_length() as u64;
        // Neither the open row group nor what delta-rs holds back is counted yet when the size is checked.
        assert!(bytes < FILE_BYTES + 2 * (ROW_GROUP_BYTES as u64 + 5 * 1024 * 1024), "{bytes}");
        numbers.extend(numbers_of(file));
    }
    assert_eq!(numbers, (0..60_000).collect::<Vec<_>>());
}

/// A payload may be large and yet compress to almost nothing: thousands of such rows are not decoded at once.
#[tokio::test]
async fn rows_with_large_payloads_are_read_a_few_at_a_time() {
    const ROWS: usize = 100;
    let (table, payload) = (Table::ClicksRejected, vec![0_u8; 1_000_000]);
    let schema = table.schema();
    let columns = schema.fields().iter().map(|field| -> ArrayRef {
        match field.name().as_str() {
            column::TOPIC | column::REASON => Arc::new(StringArray::from(vec!["clicks"; ROWS])),
            column::KAFKA_PARTITION => Arc::new(Int32Array::from(vec![0; ROWS])),
            column::KAFKA_OFFSET => Arc::new(Int64Array::from_iter_values(0..100)),
            column::KEY | column::PAYLOAD => Arc::new(BinaryArray::from_iter_values(vec![&payload; ROWS])),
            column::LOG_DATE => Arc::new(Date32Array::from(vec![0; ROWS])),
            _ => new_null_array(field.data_type(), ROWS),
        }
    });
    let rows = RecordBatch::try_new(Arc::clone(&schema), columns.collect()).expect("the columns of the table");
    let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    let (mut read, mut bytes) = (0, 0);
    for file in encode(table, &[rows]).await.expect("files") {
        bytes += file.add.size;
        file.put(store.as_ref()).await.expect("memory");
        let mut batches = read::rows(Arc::clone(&store), table, table.schema(), file.add).await.expect("a file");
        while let Some(batch) = batches.try_next().await.expect("rows") {
            assert!(batch.get_array_memory_size() < 64 * 1024 * 1024, "{} rows at once", batch.num_rows());
            read += batch.num_rows();
        }
    }
    assert_eq!(read, ROWS);
    assert!(bytes < 1_000_000, "the file is small: {bytes}");
}

/// A store behind a slow link, whose requests fail when they take too long.
#[derive(Debug, Default)]
struct Link {
    store: InMemory,
    seen: Arc<Mutex<Seen>>,
    /// Number of the part that does not arrive.
    lost: Option<usize>,
}

#[derive(Debug, Default)]
struct Seen {
    under_way: usize,
    most_under_way: usize,
    requests: usize,
    completed: usize,
    aborted: usize,
}

/// Bytes that the link moves in a second.
const LINK_BYTES: usize = 500_000;

/// How long a request may take.
const PATIENCE: Duration = Duration::from_secs(10);

async fn carry(seen: &Mutex<Seen>, bytes: usize) -> object_store::Result<()> {
    let under_way = {
        let mut seen = seen.lock().expect("no panic");
        seen.requests += 1;
        seen.under_way += 1;
        seen.most_under_way = seen.most_under_way.max(seen.under_way);
        seen.under_way
    };
    let takes = Duration::from_secs_f64(bytes as f64 * under_way as f64 / LINK_BYTES as f64);
    sleep(takes.min(PATIENCE)).await;
    seen.lock().expect("no panic").under_way -= 1;
    let timed_out = || StoreError::Generic { store: "Link", source: "operation timed out".into() };
    if takes > PATIENCE { Err(timed_out()) } else { Ok(()) }
}

impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Link")
    }
}

#[async_trait]
impl ObjectStore for Link {
    async fn put_opts(&self, path: &Path, payload: PutPayload, options: PutOptions) -> object_store::Result<PutResult> {
        carry(&self.seen, payload.content_length()).await?;
        self.store.put_opts(path, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        path: &Path,
        options: PutMultipartOptions,
    ) -> object_store::Result<Box<dyn MultipartUpload>> {
        let inner = self.store.put_multipart_opts(path, options).await?;
        Ok(Box::new(Upload { inner, seen: Arc::clone(&self.seen), parts: 0, lost: self.lost }))
    }

    async fn get_opts(&self, path: &Path, options: GetOptions) -> object_store::Result<GetResult> {
        self.store.get_opts(path, options).await
    }

    fn delete_stream(
        &self,
        paths: BoxStream<'static, object_store::Result<Path>>,
    ) -> BoxStream<'static, object_store::Result<Path>> {
        self.store.delete_stream(paths)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, object_store::Result<ObjectMeta>> {
        self.store.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> object_store::Result<ListResult> {
        self.store.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> object_store::Result<()> {
        self.store.copy_opts(from, to, options).await
    }
}

#[derive(Debug)]
struct Upload {
    inner: Box<dyn MultipartUpload>,
    seen: Arc<Mutex<Seen>>,
    parts: usize,
    lost: Option<usize>,
}

#[async_trait]
impl MultipartUpload for Upload {
    fn put_part(&mut self, part: PutPayload) -> UploadPart {
        let (seen, bytes) = (Arc::clone(&self.seen), part.content_length());
        assert_eq!(bytes.min(PART_BYTES), bytes, "a part is no larger than it may be");
        let bytes = if self.lost == Some(self.parts) { usize::MAX } else { bytes };
        self.parts += 1;
        let put = self.inner.put_part(part);
        Box::pin(async move {
            carry(&seen, bytes).await?;
            put.await
        })
    }

    async fn complete(&mut self) -> object_store::Result<PutResult> {
        self.seen.lock().expect("no panic").completed += 1;
        self.inner.complete().await
    }

    async fn abort(&mut self) -> object_store::Result<()> {
        self.seen.lock().expect("no panic").aborted += 1;
        self.inner.abort().await
    }
}

async fn large_file() -> DataFile {
    let files = encode(Table::ClicksMinute, &[minutes(&[0], 0..8_000, noise)]).await.expect("files");
    let [file] = <[DataFile; 1]>::try_from(files).ok().expect("one file");
    assert!(file.payload.content_length() > 3 * PART_BYTES, "{}", file.payload.content_length());
    file
}

#[tokio::test(start_paused = true)]
async fn a_large_file_comes_through_a_slow_link_in_parts() {
    let (link, file) = (Link::default(), large_file().await);
    file.put(&link).await.expect("each request is small");
    file.put(&link).await.expect("it can be put again");
    let path = Path::from_url_path(&file.add.path).expect("a path");
    let got = link.get(&path).await.expect("it is there").bytes().await.expect("memory");
    assert_eq!(got, Bytes::from(file.payload.clone()));
    let seen = link.seen.lock().expect("no panic");
    let parts = file.payload.content_length().div_ceil(PART_BYTES);
    assert_eq!((seen.requests, seen.completed, seen.aborted), (2 * parts, 2, 0));
    assert!(seen.most_under_way <= 2, "{} parts at a time", seen.most_under_way);
}

#[tokio::test(start_paused = true)]
async fn an_upload_that_fails_is_aborted_and_leaves_nothing() {
    let (link, file) = (Link { lost: Some(2), ..Link::default() }, large_file().await);
    let error = file.put(&link).await.expect_err("a part is lost").to_string();
    assert!(error.contains("clicks_minute: writing the data file date="), "{error}");
    let path = Path::from_url_path(&file.add.path).expect("a path");
    assert!(matches!(link.get(&path).await, Err(StoreError::NotFound { .. })));
    let seen = link.seen.lock().expect("no panic");
    assert_eq!((seen.completed, seen.aborted), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn a_small_file_is_one_request() {
    let link = Link::default();
    let files = encode(Table::ClicksMinute, &[minutes(&[0], 0..100, noise)]).await.expect("files");
    files[0].put(&link).await.expect("it is small");
    assert_eq!(link.seen.lock().expect("no panic").requests, 1);
}

#[tokio::test]
async fn a_file_whose_bytes_have_changed_is_refused_and_not_read_again_and_again() {
    let (table, schema) = (Table::ClicksMinute, Parameters::default().schema(Table::ClicksMinute));
    // Small files and large ones have different compression.
    for rows in [1_000, 20_000] {
        let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        let whole = minutes(&[0], 0..rows, |number| format!("ad-{number}"));
        let file = encode(table, &[whole]).await.expect("a file").remove(0);
        file.put(store.as_ref()).await.expect("memory");
        let path = Path::parse(&file.add.path).expect("a path");
        let bytes = store.get(&path).await.expect("it").bytes().await.expect("memory");
        for (what, from, to) in [("its data", 4, bytes.len() / 2), ("its end", bytes.len() - 40, bytes.len())] {
            let mut damaged = bytes.to_vec();
            damaged[from..to].fill(0xff);
            store.put(&path, damaged.into()).await.expect("memory");
            let read = read::all_rows(Arc::clone(&store), table, Arc::clone(&schema), file.add.clone()).await;
            let error = read.expect_err("it is damaged");
            let said = error.to_string();
            assert!(!error.is_retryable(), "{what}: {error:?}");
            assert!(said.contains(&file.add.path) && said.contains("put back a copy"), "{what}: {said}");
            assert_eq!(said.lines().count(), 1, "{what}: {said}");
        }
        store.put(&path, bytes.slice(..bytes.len() - 9).into()).await.expect("memory");
        let read = read::all_rows(Arc::clone(&store), table, Arc::clone(&schema), file.add.clone()).await;
        assert!(!read.expect_err("it is short").is_retryable());
    }
}

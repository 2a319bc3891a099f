//! A store whose operations fail when nothing is heard of them for a time.
//!
//! A server that accepts a connection and never answers must not hold a job, nor keep it from stopping within 20
//! seconds. `object_store` has one limit for a request as a whole, which is too long for a small one or too short for a
//! large one. Here only silence counts: a request that makes progress goes on.
//!
//! A request that failed in this way may have happened, as after any lost reply.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt, stream};
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result, UploadPart,
};
use tokio::time::timeout;

/// How long nothing may be heard of a request: half of what a job may take to stop, so that it can be tried once more.
const SILENCE_MAX: Duration = Duration::from_secs(10);

/// Bytes that must be sent within [`SILENCE_MAX`]; a slower line is too slow for this lake. Large files are put in
/// parts that are no larger.
const SENT_BYTES_MIN: usize = 8 * 1024 * 1024;

/// How long a request may take on which the server works for long before it answers: a copy of a file, the end of an
/// upload in parts, deletes of a thousand keys.
const WORK_MAX: Duration = Duration::from_secs(60);

/// A store whose requests fail when it stays silent.
#[derive(Debug)]
pub struct Timely<S>(pub S);

/// Waits for a request, for this time at most.
async fn within<T>(time: Duration, request: impl Future<Output = Result<T>>) -> Result<T> {
    timeout(time, request).await.unwrap_or_else(|_| Err(silence(time)))
}

/// Passes on a stream until it stays silent for this time.
fn each_within<T: Send + 'static>(
    time: Duration,
    stream: BoxStream<'static, Result<T>>,
) -> BoxStream<'static, Result<T>> {
    let next = move |stream: Option<BoxStream<'static, Result<T>>>| async move {
        let mut stream = stream?;
        match timeout(time, stream.next()).await {
            Ok(item) => Some((item?, Some(stream))),
            Err(_) => Some((Err(silence(time)), None)),
        }
    };
    // The kernel polls again after the end, which an unfolded stream does not allow.
    stream::unfold(Some(stream), next).fuse().boxed()
}

fn silence(time: Duration) -> Error {
    let source = format!("operation timed out: nothing was heard of it for {} s", time.as_secs()).into();
    Error::Generic { store: "Timely", source }
}

/// Returns how long it may take to send `bytes` bytes and get the answer.
fn to_send(bytes: usize) -> Duration {
    let parts = bytes.div_ceil(SENT_BYTES_MIN).max(1);
    SILENCE_MAX * u32::try_from(parts).unwrap_or(u32::MAX)
}

impl<S: fmt::Display> fmt::Display for Timely<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Timely({})", self.0)
    }
}

#[async_trait]
impl<S: ObjectStore> ObjectStore for Timely<S> {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        within(to_send(payload.content_length()), self.0.put_opts(location, payload, options)).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        let upload = within(SILENCE_MAX, self.0.put_multipart_opts(location, options)).await?;
        Ok(Box::new(TimelyUpload(upload)))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let mut found = within(SILENCE_MAX, self.0.get_opts(location, options)).await?;
        if let GetResultPayload::Stream(bytes) = found.payload {
            found.payload = GetResultPayload::Stream(each_within(SILENCE_MAX, bytes));
        }
        Ok(found)
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        each_within(WORK_MAX, self.0.delete_stream(locations))
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        each_within(SILENCE_MAX, self.0.list(prefix))
    }

    fn list_with_offset(&self, prefix: Option<&Path>, offset: &Path) -> BoxStream<'static, Result<ObjectMeta>> {
        each_within(SILENCE_MAX, self.0.list_with_offset(prefix, offset))
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        within(WORK_MAX, self.0.list_with_delimiter(prefix)).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        within(WORK_MAX, self.0.copy_opts(from, to, options)).await
    }
}

/// An upload in parts, each of which fails when the store stays silent.
#[derive(Debug)]
struct TimelyUpload(Box<dyn MultipartUpload>);

#[async_trait]
impl MultipartUpload for TimelyUpload {
    fn put_part(&mut self, payload: PutPayload) -> UploadPart {
        let time = to_send(payload.content_length());
        within(time, self.0.put_part(payload)).boxed()
    }

    async fn complete(&mut self) -> Result<PutResult> {
        within(WORK_MAX, self.0.complete()).await
    }

    async fn abort(&mut self) -> Result<()> {
        within(SILENCE_MAX, self.0.abort()).await
    }
}

#[cfg(test)]
mod tests {
    use futures::future::pending;
    use object_store::ObjectStoreExt;
    use object_store::memory::InMemory;
    use tokio::time::{Instant, sleep};

    use super::*;

    /// A server that accepts and never answers. If it sends, it sends one byte every nine seconds.
    #[derive(Debug)]
    struct Silent(InMemory);

    impl fmt::Display for Silent {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "Silent")
        }
    }

    #[async_trait]
    impl ObjectStore for Silent {
        async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
            self.0.put_opts(location, payload, options).await?;
            pending().await
        }

        async fn put_multipart_opts(
            &self,
            at: &Path,
            options: PutMultipartOptions,
        ) -> Result<Box<dyn MultipartUpload>> {
            self.0.put_multipart_opts(at, options).await
        }

        async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
            let mut found = self.0.get_opts(location, options).await?;
            let (meta, range) = (found.meta.clone(), found.range.clone());
            let bytes = found.bytes().await?;
            let slowly = stream::iter(bytes).then(|byte| async move {
                sleep(Duration::from_secs(9)).await;
                Ok(vec![byte].into())
            });
            let silent = stream::once(pending());
            let payload = GetResultPayload::Stream(slowly.chain(silent).boxed());
            found = GetResult { payload, meta, range, attributes: Default::default() };
            Ok(found)
        }

        fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
            self.0.delete_stream(locations)
        }

        fn list(&self, _: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
            stream::once(pending()).boxed()
        }

        async fn list_with_delimiter(&self, _: Option<&Path>) -> Result<ListResult> {
            pending().await
        }

        async fn copy_opts(&self, _: &Path, _: &Path, _: CopyOptions) -> Result<()> {
            pending().await
        }
    }

    fn seconds(began: Instant) -> u64 {
        began.elapsed().as_secs()
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_request_times_out() {
        let (store, path) = (Timely(Silent(InMemory::new())), Path::from("a"));
        let began = Instant::now();
        let error = store.put(&path, "abc".into()).await.expect_err("no answer").to_string();
        assert!(error.contains("operation timed out"), "{error}");
        assert_eq!(seconds(began), 10);
        let began = Instant::now();
        store.put(&path, vec![0; 20 * 1024 * 1024].into()).await.expect_err("no answer");
        assert_eq!(seconds(began), 30, "a large one may take longer");
        let began = Instant::now();
        assert!(store.list(None).next().await.expect("an answer").is_err());
        store.copy(&path, &Path::from("b")).await.expect_err("no answer");
        assert_eq!(seconds(began), 70);
    }

    #[tokio::test]
    async fn who_asks_again_after_the_end_of_a_listing_is_told_that_it_has_ended() {
        let mut listed = Timely(InMemory::new()).list(None);
        assert!(listed.next().await.is_none() && listed.next().await.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_that_makes_progress_goes_on_until_it_is_silent() {
        let (inner, path) = (InMemory::new(), Path::from("a"));
        inner.put(&path, "ab".into()).await.expect("memory");
        let store = Timely(Silent(inner));
        let mut bytes = store.get(&path).await.expect("it answers").into_stream();
        let began = Instant::now();
        for byte in ["a", "b"] {
            assert_eq!(bytes.next().await.expect("more").expect("a byte"), byte);
        }
        assert!(bytes.next().await.expect("an answer").is_err());
        assert_eq!(seconds(began), 28);
        assert!(bytes.next().await.is_none(), "it is over");
    }
}

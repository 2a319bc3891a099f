//! Puts a file into a store: a large one in parts, so that no request outlasts the time that a client allows for it.

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutPayload, Result};

/// Size of a part, in bytes; a file that is no larger is put in one request. S3 takes no part below 5 MiB except the
/// last, and some stores want all parts except the last to be of one size.
pub(super) const PART_BYTES: usize = if cfg!(test) { 1024 * 1024 } else { 8 * 1024 * 1024 };

/// Number of parts of a file in flight. Two hide the latency of the store. More would share a slow link and each take
/// longer: with two, a link of 14 Mbit/s moves both within 10 seconds.
const PARTS_MAX: usize = 2;

/// Puts a file. After an error it can be put again.
pub(super) async fn put(store: &dyn ObjectStore, path: &Path, payload: &PutPayload) -> Result<()> {
    if payload.content_length() <= PART_BYTES {
        return store.put(path, payload.clone()).await.map(drop);
    }
    let mut upload = store.put_multipart(path).await?;
    let parts: Vec<_> = split(payload, PART_BYTES).into_iter().map(|part| upload.put_part(part)).collect();
    let put: Result<()> = stream::iter(parts).buffer_unordered(PARTS_MAX).try_collect().await;
    let done = match put {
        Ok(()) => upload.complete().await.map(drop),
        Err(error) => Err(error),
    };
    if done.is_err() {
        // Parts of an upload that is never completed cost money. If aborting fails, too, a lifecycle rule of the bucket
        // must remove them.
        let _ = upload.abort().await;
    }
    done
}

/// Splits a payload into parts of one size, the last one perhaps smaller, without copying.
fn split(payload: &PutPayload, size: usize) -> Vec<PutPayload> {
    let (mut parts, mut part, mut room): (Vec<PutPayload>, Vec<Bytes>, usize) = (Vec::new(), Vec::new(), size);
    for mut bytes in payload.clone() {
        while bytes.len() >= room {
            part.push(bytes.split_to(room));
            parts.push(std::mem::take(&mut part).into_iter().collect());
            room = size;
        }
        room -= bytes.len();
        part.push(bytes);
    }
    part.retain(|bytes| !bytes.is_empty());
    if !part.is_empty() {
        parts.push(part.into_iter().collect());
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_of_one_size_but_the_last_and_lose_no_byte() {
        let all: Vec<u8> = (0..=255).cycle().take(1_000).collect();
        for chunk in [1, 7, 10, 11, 999, 1_000] {
            let payload: PutPayload = all.chunks(chunk).map(Bytes::copy_from_slice).collect();
            for size in [1, 10, 100, 333, 1_000, 1_001] {
                let parts = split(&payload, size);
                assert!(parts.iter().rev().skip(1).all(|part| part.content_length() == size), "{chunk} {size}");
                assert!(parts.last().is_some_and(|last| (1..=size).contains(&last.content_length())));
                let whole: Vec<u8> = parts.into_iter().flat_map(Bytes::from).collect();
                assert_eq!(whole, all, "{chunk} {size}");
            }
        }
    }
}

//! Memory of HTTP answers that are being sent: a client that does not read its answers holds memory, and no more of it
//! than its key's share.
//!
//! The count is tied to the bytes of an answer: it is given back when the last of them has been written to the
//! connection, or when that is closed. Bytes that wait in the system are not ours, and are limited for each connection.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex};

use axum::body::{Body, to_bytes};
use axum::response::Response;
use bytes::Bytes;
use lake_store::locked::lock;

use super::keys::KeyId;
use super::problem::Problem;

/// Divisor that gives the share of these bytes for answers of one key: others read theirs, whatever it does.
const SHARE: usize = 4;

/// Bytes of all answers that are being sent.
pub(super) struct Unread {
    most: usize,
    held: Mutex<Sizes>,
}

#[derive(Default)]
struct Sizes {
    all: usize,
    /// Bytes of each key that has any; without keys, all are of `None`.
    of_keys: HashMap<Option<KeyId>, usize>,
}

impl Unread {
    /// Creates an empty count with a limit of `most` bytes.
    pub fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { most, held: Mutex::default() })
    }

    /// Returns the same answer, which holds its bytes and `with` until it has been sent. A single answer may be of any
    /// size: it was made within the memory that answers may take.
    pub async fn hold<T: Send + 'static>(
        self: &Arc<Self>,
        key: Option<KeyId>,
        response: Response,
        with: T,
    ) -> Result<Response, Problem> {
        let (head, body) = response.into_parts();
        let bytes = to_bytes(body, usize::MAX).await.map_err(|error| {
            tracing::error!(%error, "an answer was not made");
            Problem::internal()
        })?;
        if bytes.is_empty() {
            return Ok(Response::from_parts(head, Body::empty()));
        }
        let held = self.enter(key, bytes.len())?;
        let sent = Bytes::from_owner(OnItsWay { bytes, _held: held, _with: with });
        Ok(Response::from_parts(head, Body::from(sent)))
    }

    fn enter(self: &Arc<Self>, key: Option<KeyId>, bytes: usize) -> Result<ReservedBytes, Problem> {
        let mut held = lock(&self.held);
        let of_key = held.of_keys.get(&key).copied().unwrap_or_default();
        let is_too_much = |held: usize, most: usize| held > 0 && held.saturating_add(bytes) > most;
        if key.is_some() && is_too_much(of_key, self.most / SHARE) {
            return Err(Problem::unread());
        }
        if is_too_much(held.all, self.most) {
            return Err(Problem::busy("too many answers are on their way; ask again"));
        }
        held.all += bytes;
        *held.of_keys.entry(key).or_default() += bytes;
        Ok(ReservedBytes { all: Arc::clone(self), key, bytes })
    }
}

/// An answer that is being sent.
struct OnItsWay<T> {
    bytes: Bytes,
    _held: ReservedBytes,
    _with: T,
}

impl<T> AsRef<[u8]> for OnItsWay<T> {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// Bytes that count for a key, until they are dropped.
struct ReservedBytes {
    all: Arc<Unread>,
    key: Option<KeyId>,
    bytes: usize,
}

impl Drop for ReservedBytes {
    fn drop(&mut self) {
        let mut held = lock(&self.all.held);
        held.all -= self.bytes;
        if let Entry::Occupied(mut of_key) = held.of_keys.entry(self.key) {
            *of_key.get_mut() -= self.bytes;
            if *of_key.get() == 0 {
                of_key.remove();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::response::IntoResponse;

    use super::*;

    const MOST: usize = 100;

    fn answer(bytes: usize) -> Response {
        "x".repeat(bytes).into_response()
    }

    #[tokio::test]
    async fn unread_answers_are_held_within_the_share_of_their_key() {
        let unread = Unread::new(MOST);
        let [one, other] = ["a", "b"].map(|key| Some(KeyId::of(key)));
        let with = Arc::new(());
        let first = unread.hold(one, answer(20), Arc::clone(&with)).await.expect("there is room");
        assert_eq!(Arc::strong_count(&with), 2, "what it is given is held, too");
        let refused = unread.hold(one, answer(6), ()).await.expect_err("that is more than its share");
        assert_eq!(refused.into_response().status(), 429);
        let large = unread.hold(other, answer(80), ()).await.expect("one alone may be large");
        let refused = unread.hold(None, answer(1), ()).await.expect_err("all is taken");
        assert_eq!(refused.into_response().status(), 503);
        assert!(unread.hold(None, answer(0), ()).await.is_ok(), "nothing takes nothing");
        // One answer has been read, and the client of the other is gone.
        let read = to_bytes(first.into_body(), usize::MAX).await.expect("it is whole");
        assert_eq!((read.len(), Arc::strong_count(&with)), (20, 2));
        drop((read, large));
        assert_eq!(Arc::strong_count(&with), 1);
        assert!(unread.hold(one, answer(3 * MOST), ()).await.is_ok(), "so is one that is larger than all");
        let held = lock(&unread.held);
        assert!(held.all == 0 && held.of_keys.is_empty(), "who has nothing on its way is not remembered");
    }
}

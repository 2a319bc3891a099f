//! The queue beside that of a consumer, from which messages are taken many at a time. This is the one file of the
//! workspace with `unsafe`; each block says what it rests on.
//!
//! Five facts of librdkafka are behind the interface:
//!
//! - The consumer's own queue must never be served by a call that hands over messages: rdkafka has rebalances as
//!   events, which such calls know nothing of, and librdkafka then gives up all partitions. So there is a queue of our
//!   own, and only queues of partitions are forwarded to it. They have messages, ends and faults, and nothing else.
//! - A partition's queue stays forwarded over pauses and seeks, but not when the partition is unassigned: librdkafka
//!   then ends the forwarding, and the next assignment puts nothing in its place. So a partition is diverted before
//!   *each* assignment of it, or it seems to be silent. Once that is done, what has come meanwhile comes.
//! - Messages that were fetched before a seek, a pause or a rebalance are dropped when they are taken, not given. What
//!   was taken before is the caller's.
//! - Where reading goes on after a pause is librdkafka's own position, and each rebalance pauses. That position may be
//!   one message behind, if the pause came while that message was taken; and it may be ahead, if markers of
//!   transactions were taken that had been fetched before the pause: according to the code, this way of taking does not
//!   look at their versions. So a caller that counts says itself where to go on: it seeks, before it takes again, after
//!   each poll in which a rebalance ran (the partitions that stay) and after each resume of its own.
//! - Taking counts as a poll: a member that only takes is not taken for dead. So it must poll, too, or rebalances wait
//!   for it until the group loses patience.

use std::error::Error;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::fmt;
use std::ptr::{self, NonNull};
use std::slice;
use std::sync::{Arc, Weak};
use std::time::Duration;

use rdkafka::bindings::{
    rd_kafka_consume_callback_queue, rd_kafka_message_errstr, rd_kafka_message_t, rd_kafka_message_timestamp,
    rd_kafka_queue_destroy, rd_kafka_queue_forward, rd_kafka_queue_get_partition, rd_kafka_queue_new, rd_kafka_queue_t,
    rd_kafka_timestamp_type_t, rd_kafka_yield,
};
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::types::RDKafkaRespErr;

use crate::messages::{Messages, Taking};

/// Number of bytes of keys and payloads after which no further message is taken, so that a batch of large messages
/// stays in bounds: it may be larger by one message.
pub const BYTES_MAX: usize = 4 * 1024 * 1024;

/// Queue of a consumer's partitions, from which messages are taken many at a time.
///
/// When it is dropped, what is in it is lost, and so is what comes of the partitions that are diverted to it.
pub struct DataQueue<C: ConsumerContext + 'static> {
    shared: Arc<Shared<C>>,
    /// Messages and bytes of the last batch: the next one is often as large, and room for it is made at once.
    last: (usize, usize),
}

/// Handle for diverting partitions from within a rebalance callback. It keeps neither the queue nor the consumer, so
/// the context of the consumer can have it.
pub struct Diverter<C: ConsumerContext + 'static> {
    shared: Weak<Shared<C>>,
}

/// Error for a partition that was not diverted.
#[derive(Debug)]
pub struct Undiverted {
    partition: i32,
    why: &'static str,
}

struct Shared<C: ConsumerContext + 'static> {
    /// Destroyed before the consumer, whose field comes after it.
    queue: Queue,
    consumer: Arc<BaseConsumer<C>>,
}

impl<C: ConsumerContext + 'static> DataQueue<C> {
    /// Makes an empty queue beside that of a consumer.
    pub fn new(consumer: &Arc<BaseConsumer<C>>) -> Self {
        // SAFETY: the client is alive, because we hold its consumer.
        let queue = unsafe { rd_kafka_queue_new(consumer.client().native_ptr()) };
        let queue = Queue(NonNull::new(queue).expect("librdkafka aborts if there is no memory"));
        Self { shared: Arc::new(Shared { queue, consumer: Arc::clone(consumer) }), last: (0, 0) }
    }

    /// Returns a handle for diverting partitions, for the context of the consumer.
    pub fn diverter(&self) -> Diverter<C> {
        Diverter { shared: Arc::downgrade(&self.shared) }
    }

    /// Diverts what comes of a partition to this queue, until it is unassigned. Must be called before each assignment
    /// of the partition, or what comes first goes to the consumer's queue. Parts of two topics that have the same
    /// number are not told apart afterwards: divert those of one topic.
    pub fn divert(&self, topic: &CStr, partition: i32) -> Result<(), Undiverted> {
        self.shared.divert(topic, partition)
    }

    /// Waits for the first message, end or fault, as long as the patience lasts; then takes what is there, at most so
    /// many, and no more than fit into [`BYTES_MAX`]. It may return nothing before its time, if all that has come was
    /// outdated.
    ///
    /// After a poll in which a rebalance ran, and after a resume, the caller must first seek the partitions that it
    /// goes on reading to where it stands: librdkafka's own position may be one message behind, or ahead of messages
    /// that nobody has seen.
    pub fn take(&mut self, most: usize, patience: Duration) -> Messages {
        self.take_within(most, BYTES_MAX, patience)
    }

    /// Takes with another limit in bytes.
    pub(crate) fn take_within(&mut self, most: usize, bytes_max: usize, patience: Duration) -> Messages {
        if most == 0 {
            return Messages::default();
        }
        let client = self.shared.consumer.client().native_ptr();
        let mut batch = Batch { taking: Taking::with_room(self.last), most, bytes_max, client };
        let millis = c_int::try_from(patience.as_micros().div_ceil(1_000)).unwrap_or(c_int::MAX);
        let queue = self.shared.queue.0.as_ptr();
        // SAFETY: the queue is alive, because we hold it. Only queues of partitions are forwarded to it, so the
        // callback is called with what partitions send. It is called within this call, on this thread, one time after
        // another, and not after it; so the batch is alive, and nobody else refers to it.
        unsafe { rd_kafka_consume_callback_queue(queue, millis, Some(copy), (&raw mut batch).cast()) };
        self.last = (batch.taking.len(), batch.taking.bytes());
        batch.taking.finish()
    }
}

impl<C: ConsumerContext + 'static> Diverter<C> {
    /// Does what [`DataQueue::divert`] does, if the queue is there still.
    pub fn divert(&self, topic: &CStr, partition: i32) -> Result<(), Undiverted> {
        let shared = self.shared.upgrade().ok_or(Undiverted { partition, why: "its queue is gone" })?;
        shared.divert(topic, partition)
    }
}

impl<C: ConsumerContext + 'static> Shared<C> {
    fn divert(&self, topic: &CStr, partition: i32) -> Result<(), Undiverted> {
        // A negative number has a meaning of its own in librdkafka.
        if partition < 0 {
            return Err(Undiverted { partition, why: "no partition has a negative number" });
        }
        let client = self.consumer.client().native_ptr();
        // SAFETY: the client is alive, because we hold its consumer, and the topic is a text that ends with a zero.
        let of_partition = unsafe { rd_kafka_queue_get_partition(client, topic.as_ptr(), partition) };
        // The handle is ours to destroy; the partition's queue lives on without it.
        let of_partition = NonNull::new(of_partition).map(Queue);
        let of_partition =
            of_partition.ok_or(Undiverted { partition, why: "librdkafka does not take the topic's name" })?;
        // SAFETY: both queues are alive, of the same client, and not the same; librdkafka counts its own reference to
        // ours.
        unsafe { rd_kafka_queue_forward(of_partition.0.as_ptr(), self.queue.0.as_ptr()) };
        Ok(())
    }
}

/// Owned reference to a queue of librdkafka, which is destroyed with it.
struct Queue(NonNull<rd_kafka_queue_t>);

// SAFETY: librdkafka locks its queues and counts references to them atomically, so that they can be used, and
// destroyed, on any thread. That only one thread at a time takes messages is `&mut` in `take`, for the sake of their
// order.
unsafe impl Send for Queue {}

// SAFETY: as above; several threads may divert partitions to one queue.
unsafe impl Sync for Queue {}

impl Drop for Queue {
    fn drop(&mut self) {
        // SAFETY: the reference is ours, nothing uses it after this, and its client is alive: a queue is either a field
        // of `Shared`, before the consumer, or lives within a function of `Shared`.
        unsafe { rd_kafka_queue_destroy(self.0.as_ptr()) };
    }
}

/// What the callback fills.
struct Batch {
    taking: Taking,
    most: usize,
    bytes_max: usize,
    client: *mut rdkafka::bindings::rd_kafka_t,
}

/// Copies a message, and stops librdkafka when there are enough: what it has not handed over it puts back in front of
/// its queue. A panic would end the process, and not go through librdkafka.
unsafe extern "C" fn copy(message: *mut rd_kafka_message_t, batch: *mut c_void) {
    // SAFETY: `take` passes a batch that is alive during this call, and to which nobody else refers.
    let batch = unsafe { &mut *batch.cast::<Batch>() };
    // SAFETY: librdkafka passes a message that is alive during this call, with all that it points to.
    unsafe { push(&mut batch.taking, message) };
    if batch.taking.len() >= batch.most || batch.taking.bytes() >= batch.bytes_max {
        // SAFETY: librdkafka notes that for this thread alone, and the client is alive.
        unsafe { rd_kafka_yield(batch.client) };
    }
}

/// Copies a message, an end or a fault.
///
/// # Safety
///
/// The message is alive, and is one that a consumer's partition has handed over.
unsafe fn push(taking: &mut Taking, message: *const rd_kafka_message_t) {
    // SAFETY: the message is alive. Its error is read as a number, because it may be one of a broker that is newer than
    // these bindings, and has no variant in their type.
    let (error, partition, offset) =
        unsafe { (ptr::read((&raw const (*message).err).cast::<i32>()), (*message).partition, (*message).offset) };
    if error != 0 {
        // SAFETY: the message is alive, and its error is set: librdkafka returns a text of the message, or a static
        // one.
        let text = unsafe { text_of(rd_kafka_message_errstr(message)) };
        let code = RDKafkaRespErr::try_from(error).map_or(RDKafkaErrorCode::Unknown, RDKafkaErrorCode::from);
        taking.push_fault(partition, offset, code, &text);
        return;
    }
    let mut kind = rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE as u32;
    // SAFETY: the message is alive and no fault. The kind is ours to write; it is a number, like the error.
    let millis = unsafe { rd_kafka_message_timestamp(message, (&raw mut kind).cast()) };
    let is_known = kind != rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE as u32 && millis != -1;
    // SAFETY: key and payload of a message that is no fault are null, or point to as many bytes as their lengths say,
    // which live and do not change as long as the message.
    let (key, payload) =
        unsafe { (bytes_of((*message).key, (*message).key_len), bytes_of((*message).payload, (*message).len)) };
    taking.push(partition, offset, is_known.then_some(millis), key, payload);
}

/// Returns the bytes at a place; `None` if there is none.
///
/// # Safety
///
/// The place is null, or so many bytes are there, which neither end nor change while the slice is used.
unsafe fn bytes_of<'a>(place: *const c_void, length: usize) -> Option<&'a [u8]> {
    let place = NonNull::new(place.cast_mut().cast::<u8>())?;
    // SAFETY: so many bytes are there, as the caller says; a length of an allocation is no more than `isize::MAX`.
    Some(unsafe { slice::from_raw_parts(place.as_ptr(), length) })
}

/// Returns a copy of a text; an empty one if there is none.
///
/// # Safety
///
/// The place is null, or a text that ends with a zero is there.
unsafe fn text_of(place: *const c_char) -> String {
    if place.is_null() {
        return String::new();
    }
    // SAFETY: a text is there, as the caller says, and it is copied at once.
    unsafe { CStr::from_ptr(place) }.to_string_lossy().into_owned()
}

impl fmt::Display for Undiverted {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "partition {} cannot be read in batches: {}", self.partition, self.why)
    }
}

impl Error for Undiverted {}

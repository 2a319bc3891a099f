//! Law: on a real Kafka and a real S3, the raw tables are the log, and the minutes are its counts, whatever happens to
//! members and servers under load.
//!
//! A round is a topic, a lake, a steady load, and events in an order that its seed shuffles: members join, leave, are
//! killed, and are stopped for longer than a session; groups rebalance all the time, because members come and go
//! quickly; Kafka and S3 are killed and started again, or stopped and continued. Jobs that nobody killed must live
//! through it, beside promotions. At the end the topic is read by `kcat` and compared position by position, `verify`
//! recounts the minutes and checks the conservation laws, and hours and days must be sums of the minutes.
//!
//! `CLICKLAKE_ROUNDS=a..b` runs other seeds.

use std::ops::Range;
use std::time::Duration;

use futures::future::{join, join_all};
use localstack::produce::Load;
use rand::seq::{IndexedRandom, SliceRandom};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::NOON_MS;
use crate::simulation::{Actor, Around, compact};
use crate::stack::member::{Job, Member, SESSION_TIMEOUT};
use crate::stack::{RealStack, Server};
use crate::upkeep::are_rolled_up;

const PARTITIONS: i32 = 12;

/// Messages a second: enough that every commit interval has some for every partition.
const RATE: u64 = 3_000;

/// Other writers beside the jobs.
const ACTORS: [Actor; 4] = [Actor::Backfill, Actor::Backfill, Actor::Compact, Actor::Promote];

/// Number of members of each job's group at the start.
const MEMBERS: usize = 2;

/// Most members that a job's group may have.
const MEMBERS_MAX: usize = 3;

/// Jobs that run beside the groups, one process of each.
const BESIDE: [Job; 2] = [Job::Compact, Job::Backfill];

/// Time for which a killed server stays dead, in milliseconds.
const DEAD_MS: Range<u64> = 200..3_000;

/// Time for which a server may be stopped by SIGSTOP, in milliseconds.
const STOPPED_MS: Range<u64> = 200..8_000;

/// Number of members that come and go in a storm.
const STORM: usize = 6;

/// Time between two members of a storm, in milliseconds.
const STORM_MS: Range<u64> = 50..600;

/// Quiet time between two events, in milliseconds.
const QUIET_MS: Range<u64> = 300..2_000;

#[derive(Clone, Copy, Debug)]
enum Event {
    /// A member is killed, and another one takes its place.
    Kill,
    /// A member joins, unless there are as many as may be.
    Join,
    /// A member is told to leave, and another one takes its place.
    Leave,
    /// A member is stopped for longer than its session lasts, and continued as a zombie.
    Sleep,
    /// A server is killed, and started again.
    Crash(Server),
    /// A server is stopped, and continued.
    Stop(Server),
    /// Several members join and are killed in quick succession.
    Storm,
}

/// Events of a round: each once, but kills and joins twice.
const EVENTS: [Event; 11] = [
    Event::Kill,
    Event::Kill,
    Event::Join,
    Event::Join,
    Event::Leave,
    Event::Sleep,
    Event::Crash(Server::Kafka),
    Event::Crash(Server::S3),
    Event::Stop(Server::Kafka),
    Event::Stop(Server::S3),
    Event::Storm,
];

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::print_stdout, reason = "what happened, for those who look for why")]
async fn nothing_is_lost_or_counted_twice_whatever_dies() {
    let stack = RealStack::start();
    for round in rounds() {
        let messages = Round::new(&stack, round).run().await;
        println!("round {round}: {messages} messages, each one row and counted once");
    }
}

/// Tells a member to leave, and checks that it ends without an error. An error is excused if a group's member had not
/// begun, or if a second compactor found another one running.
async fn leaves(mut member: Member) {
    let (status, log) = member.is_told_to_leave().await;
    let is_excused = if member.job.is_group() { !log.contains("begins") } else { log.contains("another compact") };
    assert!(status.success() || is_excused || log.is_empty(), "{status}:\n{log}");
}

/// Returns the seeds to run: the first, or those that the environment names.
fn rounds() -> Range<u64> {
    let Ok(named) = std::env::var("CLICKLAKE_ROUNDS") else { return 0..1 };
    let (first, end) = named.split_once("..").expect("CLICKLAKE_ROUNDS=a..b");
    first.parse().expect("a number")..end.parse().expect("a number")
}

struct Round<'a> {
    stack: &'a RealStack,
    rng: ChaCha8Rng,
    seed: u64,
    topic: String,
    members: Vec<Member>,
}

impl<'a> Round<'a> {
    fn new(stack: &'a RealStack, seed: u64) -> Self {
        let topic = format!("chaos-{seed}");
        Self { stack, rng: ChaCha8Rng::seed_from_u64(seed), seed, topic, members: Vec::new() }
    }

    /// Runs the round, and compares the tables with the topic. Returns the number of messages.
    #[expect(clippy::print_stdout, reason = "what happened, for those who look for why")]
    async fn run(mut self) -> usize {
        let (stack, topic, stop) = (self.stack, self.topic.clone(), CancellationToken::new());
        stack.create_topic(&topic, PARTITIONS, &[]).await;
        let load = Load { rate: RATE, count: None, start_ms: NOON_MS };
        let producing = stack.produce(&topic, self.seed, load, stop.clone());
        let lake = stack.lake(&topic);
        let around = Around::no_world();
        let others =
            (0..).zip(ACTORS).map(|(one, actor)| actor.act(&lake, &around, self.seed * ACTORS.len() as u64 + one));
        let others = join_all(others);
        let events = async {
            for job in [Job::Ingest, Job::Aggregate] {
                (0..MEMBERS).for_each(|_| self.join(job));
            }
            BESIDE.into_iter().for_each(|job| self.join(job));
            let mut events = EVENTS;
            events.shuffle(&mut self.rng);
            for event in events {
                sleep(self.millis(QUIET_MS)).await;
                self.happens(event).await;
            }
            sleep(self.millis(QUIET_MS)).await;
            stop.cancel();
        };
        let (counts, ()) = tokio::select! {
            done = join(producing, events) => done,
            _ = others => unreachable!("they never end"),
        };
        self.all_are_running();
        for member in std::mem::take(&mut self.members) {
            // A backfill ends by itself. One that is still running is killed when it is dropped.
            if member.job != Job::Backfill {
                leaves(member).await;
            }
        }
        for job in [Job::Ingest, Job::Aggregate] {
            stack.catch_up_with(job, &topic, &topic, &[]).await;
        }
        let messages = stack.raw_is_the_log(&topic, &topic).await;
        assert_eq!(messages as u64, counts.total(), "messages that kafka acknowledged");
        let said = stack.minutes_are_right(&topic);
        compact(&lake, 1).await.expect("the stack is up");
        let [minutes, ..] = are_rolled_up(&lake).await.expect("hours and days are of the minutes that they name");
        let of = |job: &str| minutes.iter().filter(|version| version.job == job).count();
        println!("round {}: {} backfills, {} promotions; {said}", self.seed, of("backfill"), of("promote"));
        messages
    }

    #[expect(clippy::print_stdout, reason = "what happened, for those who look for why")]
    async fn happens(&mut self, event: Event) {
        println!("round {}: {event:?}, {} members", self.seed, self.members.len());
        self.all_are_running();
        match event {
            Event::Join => {
                let job = self.any_job();
                self.join(job);
            }
            Event::Kill => self.one_dies(),
            Event::Leave => {
                let member = self.any(Job::is_group);
                let job = member.job;
                leaves(member).await;
                self.join(job);
            }
            Event::Storm => {
                for number in 0..STORM {
                    let job = self.any_job();
                    if number % 2 == 0 {
                        self.join(job)
                    } else {
                        self.one_dies()
                    }
                    sleep(self.millis(STORM_MS)).await;
                }
            }
            Event::Sleep => {
                let sleeper = self.any(|_| true);
                sleeper.signal("STOP");
                sleep(SESSION_TIMEOUT + self.millis(QUIET_MS)).await;
                sleeper.signal("CONT");
                self.members.push(sleeper);
            }
            Event::Crash(server) => {
                self.stack.kill(server);
                sleep(self.millis(DEAD_MS)).await;
                self.stack.up();
            }
            Event::Stop(server) => {
                self.stack.signal(server, "STOP");
                sleep(self.millis(STOPPED_MS)).await;
                self.stack.signal(server, "CONT");
            }
        }
    }

    fn one_dies(&mut self) {
        let mut member = self.any(|_| true);
        member.kill();
        self.join(member.job);
    }

    fn join(&mut self, job: Job) {
        let most = if job.is_group() { MEMBERS_MAX } else { 1 };
        if self.members.iter().filter(|member| member.job == job).count() < most {
            self.members.push(Member::of(job, self.stack, &self.topic, &self.topic, &[]));
        }
    }

    fn any_job(&mut self) -> Job {
        if self.rng.random() { Job::Ingest } else { Job::Aggregate }
    }

    /// Takes a random member out of the list, among those of some jobs.
    fn any(&mut self, of: impl Fn(Job) -> bool) -> Member {
        let places: Vec<_> = (0..self.members.len()).filter(|place| of(self.members[*place].job)).collect();
        self.members.swap_remove(*places.choose(&mut self.rng).expect("there are members"))
    }

    /// Checks that all members that have begun are running; only a backfill may be done, or say why not. A member that
    /// found a server dead at its start has said so and ended; it is started again, as a supervisor would do.
    fn all_are_running(&mut self) {
        let ended: Vec<_> = self.members.extract_if(.., |member| !member.is_running()).collect();
        for member in ended {
            let log = member.log();
            let is_backfill = member.job == Job::Backfill;
            assert!(
                is_backfill || ((log.contains("error: ") || log.contains("error[CL")) && !log.contains("begins")),
                "round {}: a member has ended:\n{log}",
                self.seed
            );
            self.join(member.job);
        }
    }

    fn millis(&mut self, range: Range<u64>) -> Duration {
        Duration::from_millis(self.rng.random_range(range))
    }
}

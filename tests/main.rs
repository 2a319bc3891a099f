//! The laws of the system, checked on the real thing and under simulated disaster. One binary, so that it is linked
//! once.
//!
//! | module | what it holds the system to |
//! |---|---|
//! | [`same_again`] | a seed of a simulated world tells the same story twice |
//! | [`raw_is_the_log`] | every position once, whatever crashes, fails or lies |
//! | [`commits`] | the commit protocol: fencing, lost replies, removes |
//! | [`messages`] | every rejection reason; hostile input; nothing lost |
//! | [`chaos`] | the same on a real Kafka and a real S3, with everything killed that can be |
//! | [`counted`] | `aggregate` on the real thing: what it reads from where, and refuses |
//! | [`damaged`] | bytes that changed on a broker's disk are refused with their position |
//! | [`foreign`] | whatever Spark does to the tables, no row is lost or doubled by us |
//! | [`full_disk`] | a disk without room ends no job and loses nothing |
//! | [`kafka`] | groups, transactions, administrators and passwords of Apache Kafka |
//! | [`s3`] | one winner a key; errors in one line; throttling and lost replies lived through |
//! | [`metrics`] | what is served to Prometheus is what the tables say |
//! | [`local_stack`] | `up` and `down` do what they say |
//! | [`minutes`] | the minute counts are those of a plain loop, restarts included |
//! | [`driving`] | the loop: how often it commits, when it stops, how it restarts, what it learns of other writers |
//! | [`follows`] | counts that follow the raw table are those of the log below its cut, whatever Kafka has |
//! | [`hand_over`] | the raw table and Kafka are one log, whatever each lacks |
//! | [`statements`] | statements of another program: nothing of ours is lost, doubled or written against them |
//! | [`in_doubt`] | two faults on one commit: whoever made it finds in the end that it happened |
//! | [`retired`] | an answer that is said to be final does not change; a topic that is over is not waited for |
//! | [`history`] | replays, backfills into a table and in place are the live counts |
//! | [`upkeep`] | roll-ups, compaction, promotion and clean-up change no sum, and keep what is to be kept |
//! | [`totals`] | totals and series are the sum of the minutes, at any version, whatever is rolled up |
//! | [`sql`] | statements answer what their files say, at any version; nobody writes the lake by SQL; reports |
//! | [`audit`] | `verify` names what was tampered with |
//! | [`money`] | no sum of costs wraps around: it is right, or an error that names whose it is |
//! | [`places`] | a lake may be in a folder of any name, however that is spelled |
//! | [`embedded`] | the whole path over a broker in this process |
//! | [`evolution`] | lakes of older programs are gone on with and upgraded; those of newer ones are read, not written |
//! | [`serve`] | who asks from afar is answered as SQL answers, of what their key sees, however they ask |
//! | [`start_up`] | what is wrong is said in one line, in time, with the right exit code |
//! | [`stopping`] | a signal commits and leaves |
//! | [`readers`] | Delta readers that are not ours read the same |
//! | [`terminal`] | what ids, full disks and the environment do to whoever types: nothing |
//! | [`structure`] | the tree is as the design says |
//! | [`documents`] | links lead somewhere; pages and functions that are named are there; each code is explained |

mod audit;
mod by_hand;
mod chaos;
mod clock_store;
mod commits;
mod counted;
mod damaged;
mod documents;
mod driving;
mod embedded;
mod evolution;
mod fault_store;
mod follows;
mod foreign;
mod full_disk;
mod hand_over;
mod history;
mod in_doubt;
mod kafka;
mod local_stack;
mod messages;
mod metrics;
mod minutes;
mod money;
mod places;
mod raw_is_the_log;
mod readers;
mod retired;
mod s3;
mod same_again;
mod serve;
mod simulation;
mod sql;
mod stack;
mod start_up;
mod statements;
mod stopping;
mod structure;
mod terminal;
mod totals;
mod upkeep;

/// When generated clicks happen, unless a test says otherwise: 2026-03-07T12:00:00Z.
const NOON_MS: i64 = 1_772_884_800_000;

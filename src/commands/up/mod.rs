//! `clicklake up`: runs broker, generated clicks, both jobs and the compactor in one process, to see them work.

mod all_in_one;
mod minutes;
mod rounds;

pub use self::all_in_one::run;

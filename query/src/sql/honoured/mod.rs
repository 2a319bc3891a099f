//! Refuses the parts of a statement that DataFusion would silently ignore: an answer to another question is worse than
//! none.
//!
//! DataFusion's parser takes what any engine understands, and its planner ignores parts of that: `PREWHERE`, `WITH
//! ROLLUP`, `CONNECT BY`, `FILTER` of a function that does not aggregate. Here each part of a query is destructured
//! into all its fields, and each field is named as one of three: honoured, refused by DataFusion itself, or refused
//! here. A field or a form that the parser gets later does not compile until it is named too. Statements that make
//! tables of the session are not checked, except for the queries in them: the planner destructures those statements
//! itself.

mod expressions;
mod queries;
#[cfg(test)]
mod tests;
mod visitor;
mod windows;

pub(super) use queries::check;

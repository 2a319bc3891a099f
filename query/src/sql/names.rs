//! Names that a session gives to what the lake has.

/// Name of the catalog of a session.
pub const CATALOG: &str = "clicklake";

/// Name of the schema that has the tables of the lake.
pub const SCHEMA: &str = "public";

//! Limits on what a connection has the server keep until it is closed: prepared statements and bound portals, by name.
//! Together they are limited by the bytes that were sent for them; what is made of these takes some ten times as much.

use std::collections::{BTreeMap, BTreeSet};

use super::errors::Refused;

/// Maximum number of statements, and of portals, of a connection at once: drivers keep about a hundred.
const NAMES_MAX: usize = 1_000;

/// Maximum number of bytes that a connection may have sent for all that is kept: a thousand statements of some
/// kilobytes.
const BYTES_MAX: usize = 4 << 20;

/// Kind of a kept object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// A prepared statement.
    Statement,
    /// A statement with the values of its parameters.
    Portal,
}

/// Objects kept for a connection, and the bytes that were sent for each.
#[derive(Default)]
pub(super) struct ConnectionObjects(BTreeMap<(Kind, String), usize>);

impl ConnectionObjects {
    /// Refuses to keep something if the name is taken or a limit is exceeded. An unnamed object replaces the last
    /// unnamed one.
    pub fn may_keep(&self, kind: Kind, name: &str, bytes: usize) -> Result<(), Refused> {
        if !name.is_empty() && self.0.contains_key(&(kind, name.to_owned())) {
            return Err(match kind {
                Kind::Statement => Refused::statement_exists(name),
                Kind::Portal => Refused::portal_exists(name),
            });
        }
        let others = || self.0.iter().filter(|((kept, called), _)| (*kept, called.as_str()) != (kind, name));
        let what = match kind {
            Kind::Statement => "statements are prepared",
            Kind::Portal => "portals are open",
        };
        if others().filter(|((kept, _), _)| *kept == kind).count() >= NAMES_MAX {
            return Err(Refused::too_much(&format!("too many {what}; close some")));
        }
        if others().map(|(_, bytes)| bytes).sum::<usize>().saturating_add(bytes) > BYTES_MAX {
            let why = "statements and portals of this connection are too large together; close some";
            return Err(Refused::too_much(why));
        }
        Ok(())
    }

    /// Records that something is kept.
    pub fn keep(&mut self, kind: Kind, name: String, bytes: usize) {
        self.0.insert((kind, name), bytes);
    }

    /// Records that something is no longer kept, or nothing of that kind; returns their names.
    pub fn forget(&mut self, kind: Kind, name: Option<&str>) -> BTreeSet<String> {
        let of_kind = |(kept, called): &(Kind, String)| *kept == kind && name.is_none_or(|name| name == called);
        let names = self.0.keys().filter(|key| of_kind(key)).map(|(_, called)| called.clone()).collect();
        self.0.retain(|key, _| !of_kind(key));
        names
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_bounded_by_its_number_and_its_bytes() {
        let mut kept = ConnectionObjects::default();
        for number in 0..NAMES_MAX {
            kept.keep(Kind::Statement, number.to_string(), 1);
        }
        assert!(kept.may_keep(Kind::Statement, "more", 1).is_err());
        assert_eq!(kept.may_keep(Kind::Statement, "7", 1), Err(Refused::statement_exists("7")));
        assert!(kept.may_keep(Kind::Portal, "more", 1).is_ok());
        assert_eq!(kept.forget(Kind::Statement, Some("7")), BTreeSet::from(["7".to_owned()]));
        assert!(kept.may_keep(Kind::Statement, "more", 1).is_ok());
        assert_eq!(kept.forget(Kind::Statement, None).len(), NAMES_MAX - 1);
        // Sends a megabyte under ever new names.
        let sent = 1 << 20;
        for number in 0..BYTES_MAX / sent {
            assert!(kept.may_keep(Kind::Portal, &number.to_string(), sent).is_ok(), "{number}");
            kept.keep(Kind::Portal, number.to_string(), sent);
        }
        assert!(kept.may_keep(Kind::Portal, "more", 1).is_err());
        assert_eq!(kept.may_keep(Kind::Portal, "1", sent), Err(Refused::portal_exists("1")));
        kept.forget(Kind::Portal, Some("1"));
        kept.keep(Kind::Portal, String::new(), sent);
        assert!(kept.may_keep(Kind::Portal, "", sent).is_ok(), "it takes the place of the last");
        assert!(kept.may_keep(Kind::Statement, "a", 1).is_err(), "both share what there is");
        kept.forget(Kind::Portal, None);
        assert!(kept.may_keep(Kind::Statement, "a", 1).is_ok());
    }
}

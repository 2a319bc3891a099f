//! The state of a connection whose client is about to log in.

use std::sync::{Arc, Mutex, OnceLock};

use super::server::Postgres;
use crate::keys::Who;
use crate::scram::Begun;

/// Connection whose client has not logged in yet.
pub(super) struct Door {
    /// Server, shared by all connections.
    pub server: Arc<Postgres>,
    /// State of a login by proof.
    pub scram: Mutex<Scram>,
    /// The client that has logged in.
    pub who: OnceLock<Who>,
}

impl Door {
    pub fn new(server: Arc<Postgres>) -> Self {
        Self { server, scram: Mutex::default(), who: OnceLock::new() }
    }

    /// Records who has logged in.
    pub fn let_in(&self, who: Who) {
        // A client logs in only once.
        let _ = self.who.set(who);
    }
}

/// State of a login by SCRAM.
#[derive(Default)]
pub(super) enum Scram {
    /// No proof was requested: the client is asked for the password.
    #[default]
    Unasked,
    /// The client is asked to prove that it has a key.
    Asked,
    /// The client has sent its first message.
    Begun(Begun),
}

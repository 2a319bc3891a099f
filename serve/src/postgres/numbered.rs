//! By which number, and which secret, a session is known to who cancels what it does. Numbers do not tell how many
//! sessions there were before, of which others know.

use std::hash::{BuildHasher, RandomState};

use datafusion_postgres::pgwire::api::{ClientInfo, PidSecretKeyGenerator, RandomPidSecretKeyGenerator};
use datafusion_postgres::pgwire::messages::startup::SecretKey;

/// The numbers of sessions. Two that are the same are told apart by their secrets.
#[derive(Default)]
pub(super) struct Numbered {
    /// Counts, and makes the secrets.
    counted: RandomPidSecretKeyGenerator,
    /// Of keys that are random, and nobody else's.
    hashes: RandomState,
}

impl PidSecretKeyGenerator for Numbered {
    fn generate(&self, client: &dyn ClientInfo) -> (i32, SecretKey) {
        let (count, secret) = self.counted.generate(client);
        (number(self.hashes.hash_one(count)), secret)
    }
}

/// A number as processes have it, which is not negative.
fn number(hash: u64) -> i32 {
    let [first, second, third, fourth, ..] = hash.to_be_bytes();
    i32::from_be_bytes([first & 0x7f, second, third, fourth])
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use datafusion_postgres::pgwire::api::DefaultClient;

    use super::*;

    #[test]
    fn a_number_does_not_tell_of_others() {
        let client = DefaultClient::<()>::new(([127, 0, 0, 1], 1).into(), false);
        let numbers = |of: &Numbered| (0..100).map(|_| of.generate(&client).0).collect::<Vec<_>>();
        let (one, other) = (numbers(&Numbered::default()), numbers(&Numbered::default()));
        assert!(one.iter().all(|number| *number >= 0) && one != other);
        assert!(one.windows(2).filter(|two| two[0].abs_diff(two[1]) > 1_000).count() > 90, "{one:?}");
        assert!(one.iter().collect::<BTreeSet<_>>().len() > 98, "{one:?}");
    }
}

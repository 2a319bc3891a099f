//! Identifiers of sessions: a number and a secret, by which a client cancels a statement. The numbers do not reveal how
//! many sessions there were before.

use std::hash::{BuildHasher, RandomState};

use datafusion_postgres::pgwire::api::{ClientInfo, PidSecretKeyGenerator, RandomPidSecretKeyGenerator};
use datafusion_postgres::pgwire::messages::startup::SecretKey;

/// Generates the numbers of sessions. Two sessions with the same number differ by their secrets.
#[derive(Default)]
pub(super) struct Numbered {
    /// Counter that also generates the secrets.
    counted: RandomPidSecretKeyGenerator,
    /// Hash with random keys, which hides the count.
    hashes: RandomState,
}

impl PidSecretKeyGenerator for Numbered {
    fn generate(&self, client: &dyn ClientInfo) -> (i32, SecretKey) {
        let (count, secret) = self.counted.generate(client);
        (number(self.hashes.hash_one(count)), secret)
    }
}

/// Returns a process number of 31 bits, which is not negative.
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

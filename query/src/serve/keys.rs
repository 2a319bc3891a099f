//! Keys, and what each of them sees. Of a key only its SHA-256 is kept, so a file that leaks opens nothing.
//!
//! ```text
//!   # a line a key: its SHA-256 in hex, a space, the campaigns that it sees by comma, or * for everything
//!   5e884898da28047151d0e56f8dc6292773603d0d6aabbdd62a11ef721d1542d8 spring,summer
//! ```
//!
//! Behind the hash of a key that `clicklake key` has made stands a colon and its verifier, by which clients of
//! PostgreSQL log in without sending it: see [`super::scram`].
//!
//! A key is looked for in the same time whether it is there, and wherever: each of them is compared to its last byte.

use std::fmt;

use lake_schemas::LakeError;
use sha2::{Digest, Sha256};
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};

use super::scram::{Proof, Verifier};
use crate::sees::Sees;

/// What stands for all campaigns.
const EVERYTHING: &str = "*";

/// Keys that may be in a file: each is compared with every key that is shown.
const KEYS_MAX: usize = 10_000;

type Hash = [u8; 32];

/// Which key it is: to tell keys apart, and not to know them.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct KeyId(Hash);

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }
}

impl KeyId {
    /// That of a key.
    pub fn of(key: &str) -> Self {
        Self(Sha256::digest(key.as_bytes()).into())
    }
}

/// The keys of a server.
#[derive(Clone)]
pub struct Keys {
    keys: Vec<(Hash, Sees)>,
    /// Of those that have one, by their place.
    verifiers: Vec<(usize, Verifier)>,
}

impl Keys {
    /// From the lines of a file. What is wrong names the line, and never repeats it.
    pub fn parse(text: &str) -> Result<Self, LakeError> {
        let mut keys: Vec<(Hash, Sees)> = Vec::new();
        let mut verifiers = Vec::new();
        for (number, line) in (1..).zip(text.lines()) {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let wrong = |what: &str| LakeError::Refused(format!("line {number} of the keys: {what}"));
            let (key, campaigns) = line.split_once(' ').ok_or_else(|| wrong(EXPECTED))?;
            let (hash, verifier) = key.split_once(':').map_or((key, None), |(hash, of)| (hash, Some(of)));
            if let Some(verifier) = verifier {
                let verifier = Verifier::parse(verifier).ok_or_else(|| wrong(VERIFIER))?;
                verifiers.push((keys.len(), verifier));
            }
            let hash = hash_of(hash).ok_or_else(|| wrong(EXPECTED))?;
            if keys.iter().any(|(other, _)| *other == hash) {
                return Err(wrong("that key is there already; give all its campaigns in one line"));
            }
            let sees = sees(campaigns.trim()).ok_or_else(|| wrong("a campaign has no name"))?;
            keys.push((hash, sees));
        }
        match keys.len() {
            0 => Err(LakeError::Refused(format!("there are no keys; {EXPECTED}"))),
            count if count > KEYS_MAX => {
                Err(LakeError::Refused(format!("there are {count} keys; a server has {KEYS_MAX} at most")))
            }
            _ => Ok(Self { keys, verifiers }),
        }
    }

    /// What a key sees; `None` if it is no key.
    pub fn sees(&self, key: &str) -> Option<&Sees> {
        self.find(key).map(|(_, sees)| sees)
    }

    /// Which key it is, and what it sees; `None` if it is none.
    pub(super) fn find(&self, key: &str) -> Option<(KeyId, &Sees)> {
        let id = KeyId::of(key);
        let shown = id.0;
        let mut found = u32::MAX;
        for (place, (hash, _)) in (0_u32..).zip(&self.keys) {
            found.conditional_assign(&place, hash.ct_eq(&shown));
        }
        let is_there: Choice = !found.ct_eq(&u32::MAX);
        if bool::from(is_there) { self.keys.get(found as usize).map(|(_, sees)| (id, sees)) } else { None }
    }
}

impl Keys {
    /// Whether somebody may log in by a proof, and whether everyone may.
    pub(super) fn are_proved(&self) -> Proved {
        match self.verifiers.len() {
            0 => Proved::None,
            count if count == self.keys.len() => Proved::All,
            _ => Proved::Some,
        }
    }

    /// Which key somebody proves to have, what it sees, and what the server says to that.
    pub(super) fn find_by(&self, proof: &Proof) -> Option<(KeyId, &Sees, String)> {
        let mut found = u32::MAX;
        for (place, (_, verifier)) in (0_u32..).zip(&self.verifiers) {
            found.conditional_assign(&place, proof.is_of(verifier));
        }
        let (place, verifier) = self.verifiers.get(found as usize)?;
        let (hash, sees) = self.keys.get(*place)?;
        Some((KeyId(*hash), sees, proof.server_last(verifier)))
    }
}

/// Which keys have a verifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Proved {
    None,
    Some,
    All,
}

const VERIFIER: &str = "what stands behind the hash and a colon is made by `clicklake key`, and by nothing else";

const EXPECTED: &str =
    "expected the SHA-256 of a key in hex (printf %s KEY | sha256sum), a space, and its campaigns by comma, or *";

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} keys", self.keys.len())
    }
}

fn hash_of(hex: &str) -> Option<Hash> {
    let mut hash = Hash::default();
    if hex.len() != 2 * hash.len() || !hex.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    for (at, byte) in hash.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).ok()?;
    }
    Some(hash)
}

fn sees(campaigns: &str) -> Option<Sees> {
    if campaigns == EVERYTHING {
        return Some(Sees::All);
    }
    let names = campaigns.split(',').map(|name| Some(name.to_owned()).filter(|name| !name.is_empty()));
    names.collect::<Option<_>>().map(Sees::Campaigns)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// SHA-256 of "password", and of "secret".
    const PASSWORD: &str = "5e884898da28047151d0e56f8dc6292773603d0d6aabbdd62a11ef721d1542d8";
    const SECRET: &str = "2BB80D537B1DA3E38BD30361AA855686BDE0EACD7162FEF6A25FE97BF527A25B";

    #[test]
    fn a_key_sees_its_campaigns() {
        let keys = Keys::parse(&format!("# people\n\n{PASSWORD} spring,Summer 24\n {SECRET}  *\n")).expect("keys");
        let own = ["spring", "Summer 24"].map(str::to_owned);
        assert_eq!(keys.sees("password"), Some(&Sees::Campaigns(own.into())));
        assert_eq!(keys.sees("secret"), Some(&Sees::All));
        for wrong in ["", "Password", "password ", PASSWORD, "*"] {
            assert_eq!(keys.sees(wrong), None, "{wrong}");
        }
        assert_eq!(format!("{keys:?}"), "2 keys");
    }

    #[test]
    fn keys_have_verifiers_or_not() {
        let (key, line) = super::super::scram::new_key([1; 32], "spring");
        let plain = format!("{PASSWORD} summer");
        for (text, proved) in
            [(plain.clone(), Proved::None), (format!("{plain}\n{line}"), Proved::Some), (line.clone(), Proved::All)]
        {
            assert_eq!(Keys::parse(&text).expect("keys").are_proved(), proved);
        }
        // By its hash, it is a key like any other.
        let spring = Sees::Campaigns(["spring".to_owned()].into());
        assert_eq!(Keys::parse(&line).expect("a key").sees(&key), Some(&spring));
        let forged = line.replace("4096", "1");
        let said = Keys::parse(&forged).expect_err("it is not so made").to_string();
        assert!(said.starts_with("line 1 of the keys: what stands behind the hash"), "{said}");
    }

    #[test]
    fn what_is_no_key_is_named_by_its_line_and_not_repeated() {
        let twice = format!("{PASSWORD} a\n{} b", PASSWORD.to_uppercase());
        let cases = [
            ("password spring".to_owned(), "line 1 of the keys: expected the SHA-256"),
            (format!("\n{PASSWORD}"), "line 2 of the keys: expected the SHA-256"),
            (format!("{PASSWORD} a,,b"), "line 1 of the keys: a campaign has no name"),
            (twice, "line 2 of the keys: that key is there already"),
            ("# nothing".to_owned(), "there are no keys"),
        ];
        for (text, expected) in cases {
            let said = Keys::parse(&text).expect_err("it is wrong").to_string();
            assert!(said.starts_with(expected) && !said.contains("5e88") && !said.contains("spring"), "{said}");
        }
    }
}

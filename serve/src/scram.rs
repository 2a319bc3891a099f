//! SCRAM-SHA-256 (RFC 5802, RFC 7677): a client proves that it has a key without sending the key, and the server proves
//! that it knows the key's verifier. The server keeps nothing but the verifier, with which nobody can log in.
//!
//! ```text
//!   client  n,,n=,r=NONCE                          with any user name: the key alone says what is seen
//!   server  r=NONCE+OURS,s=SALT,i=4096             the same for all keys
//!   client  c=biws,r=NONCE+OURS,p=PROOF            compared with all verifiers
//!   server  v=SIGNATURE
//! ```
//!
//! All verifiers have one salt, so a client need not say which key it has before it proves that it has it. Salts keep
//! passwords that people choose from being looked up in one precomputed list. No such list can have the keys of
//! [`new_key`]: they are random, with 256 bits, and no other keys get verifiers.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// Name of the mechanism, as clients know it.
pub(super) const MECHANISM: &str = "SCRAM-SHA-256";

/// Iterations from a key to its verifier: PostgreSQL's default, and the least that clients accept.
const ROUNDS: u32 = 4096;

/// Salt of all verifiers.
const SALT: &[u8; 16] = b"clicklake keys 1";

/// Beginning of a verifier, in PostgreSQL's own form.
const PREFIX: &str = "SCRAM-SHA-256$4096:Y2xpY2tsYWtlIGtleXMgMQ==$";

/// Maximum size of a client's message, in bytes: a nonce of any client is far shorter.
const SAID_MAX: usize = 1024;

type Bytes32 = [u8; 32];

/// Verifier of a key: whoever has it can check that a client has the key, and no more.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Verifier {
    stored: Bytes32,
    server: Bytes32,
}

impl Verifier {
    /// Computes the verifier of a key.
    pub fn of(key: &str) -> Self {
        let salted = salted(key);
        let client = hmac(&salted, &[b"Client Key"]);
        Self { stored: Sha256::digest(client).into(), server: hmac(&salted, &[b"Server Key"]) }
    }

    /// Reads a verifier as it is written in a file.
    pub fn parse(text: &str) -> Option<Self> {
        let (stored, server) = text.strip_prefix(PREFIX)?.split_once(':')?;
        let bytes = |text: &str| Bytes32::try_from(STANDARD.decode(text).ok()?).ok();
        Some(Self { stored: bytes(stored)?, server: bytes(server)? })
    }
}

impl fmt::Display for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}:{}", STANDARD.encode(self.stored), STANDARD.encode(self.server))
    }
}

/// A login that has begun, with what both sides have said.
pub(super) struct Begun {
    client_first: String,
    server_first: String,
    /// Channel binding header, which the client must repeat.
    binding: String,
    nonce: String,
}

/// A proof that a client has a key, which does not reveal the key.
pub(super) struct Proof {
    message: String,
    proof: Bytes32,
}

impl Begun {
    /// Begins a login with the client's first message and random characters, which must be unpredictable. `None` if the
    /// message is not one of SCRAM.
    pub fn new(first: &[u8], random: &str) -> Option<Self> {
        let said = said(first)?;
        // `n`: the client supports no channel binding; `y`: it does, and thinks that the server does not.
        let rest = said.strip_prefix("n,").or_else(|| said.strip_prefix("y,"))?;
        let (_, bare) = rest.split_once(',')?;
        let header = &said[..said.len() - bare.len()];
        let mut parts = bare.split(',');
        let name = parts.next()?;
        let nonce = parts.next()?.strip_prefix("r=").filter(|nonce| !nonce.is_empty())?;
        if !name.starts_with("n=") {
            return None;
        }
        let nonce = format!("{nonce}{random}");
        let server_first = format!("r={nonce},s={},i={ROUNDS}", STANDARD.encode(SALT));
        Some(Self { client_first: bare.to_owned(), server_first, binding: STANDARD.encode(header), nonce })
    }

    /// Returns the server's first message.
    pub fn server_first(&self) -> &str {
        &self.server_first
    }

    /// Reads the proof from the client's last message; `None` if it is malformed, or of another login.
    pub fn proof(&self, last: &[u8]) -> Option<Proof> {
        let said = said(last)?;
        let (without_proof, proof) = said.rsplit_once(",p=")?;
        let mut parts = without_proof.split(',');
        let (binding, nonce) = (parts.next()?.strip_prefix("c=")?, parts.next()?.strip_prefix("r=")?);
        if binding != self.binding || nonce != self.nonce {
            return None;
        }
        let proof = Bytes32::try_from(STANDARD.decode(proof).ok()?).ok()?;
        Some(Proof { message: format!("{},{},{without_proof}", self.client_first, self.server_first), proof })
    }
}

impl Proof {
    /// Returns whether the proof was made with the verifier's key. The time that this takes does not depend on the
    /// proof.
    pub fn is_of(&self, verifier: &Verifier) -> subtle::Choice {
        let signature = hmac(&verifier.stored, &[self.message.as_bytes()]);
        let mut key = self.proof;
        key.iter_mut().zip(signature).for_each(|(byte, with)| *byte ^= with);
        let stored: Bytes32 = Sha256::digest(key).into();
        stored.ct_eq(&verifier.stored)
    }

    /// Returns the server's last message, which shows that it knows the verifier.
    pub fn server_last(&self, verifier: &Verifier) -> String {
        format!("v={}", STANDARD.encode(hmac(&verifier.server, &[self.message.as_bytes()])))
    }
}

/// Returns a key made of these random bytes, and its line in a file of keys: its hash, its verifier, and its campaigns.
pub fn new_key(random: [u8; 32], campaigns: &str) -> (String, String) {
    let key = URL_SAFE_NO_PAD.encode(random);
    let hash: String = Sha256::digest(key.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
    let line = format!("{hash}:{} {campaigns}", Verifier::of(&key));
    (key, line)
}

/// Returns a client's message as a text; `None` if it is too long or no text.
fn said(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok().filter(|text| text.len() <= SAID_MAX)
}

/// Computes PBKDF2 with HMAC-SHA-256 of a key, one block long.
fn salted(key: &str) -> Bytes32 {
    let key = key.as_bytes();
    let mut last = hmac(key, &[SALT, &1_u32.to_be_bytes()]);
    let mut salted = last;
    for _ in 1..ROUNDS {
        last = hmac(key, &[&last]);
        salted.iter_mut().zip(last).for_each(|(byte, with)| *byte ^= with);
    }
    salted
}

fn hmac(key: &[u8], parts: &[&[u8]]) -> Bytes32 {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("a key of any length");
    parts.iter().for_each(|part| mac.update(part));
    mac.finalize().into_bytes().into()
}

/// Computes a client's last message from a key.
#[cfg(test)]
pub(super) fn answer(key: &str, begun: &Begun, client_first: &str) -> Vec<u8> {
    let without_proof = format!("c=biws,r={}", begun.nonce);
    let message = format!("{client_first},{},{without_proof}", begun.server_first());
    let client = hmac(&salted(key), &[b"Client Key"]);
    let stored: Bytes32 = Sha256::digest(client).into();
    let mut proof = hmac(&stored, &[message.as_bytes()]);
    proof.iter_mut().zip(client).for_each(|(byte, with)| *byte ^= with);
    format!("{without_proof},p={}", STANDARD.encode(proof)).into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    const RANDOM: [u8; 32] = [7; 32];

    #[test]
    fn who_has_a_key_logs_in_and_nobody_else() {
        let (key, line) = new_key(RANDOM, "spring,summer");
        let (hash, rest) = line.split_once(':').expect("a hash");
        let (written, campaigns) = rest.split_once(' ').expect("campaigns");
        assert_eq!((hash.len(), campaigns, key.len()), (64, "spring,summer", 43));
        let verifier = Verifier::parse(written).expect("a verifier");
        assert!(verifier == Verifier::of(&key) && !written.contains(&key));
        let begun = Begun::new(b"n,,n=,r=abc", "random").expect("a login");
        assert_eq!(begun.server_first(), "r=abcrandom,s=Y2xpY2tsYWtlIGtleXMgMQ==,i=4096");
        let proof = begun.proof(&answer(&key, &begun, "n=,r=abc")).expect("a proof");
        assert!(bool::from(proof.is_of(&verifier)));
        assert!(proof.server_last(&verifier).starts_with("v="));
        for other in ["", "spring", &key[1..], &key.to_uppercase()] {
            let proof = begun.proof(&answer(other, &begun, "n=,r=abc")).expect("a proof");
            assert!(!bool::from(proof.is_of(&verifier)), "{other}");
        }
        // A stolen verifier makes no proof: it is no key, and another login has another nonce.
        let stolen = begun.proof(&answer(&verifier.to_string(), &begun, "n=,r=abc")).expect("a proof");
        assert!(!bool::from(stolen.is_of(&verifier)));
        let again = Begun::new(b"n,,n=,r=abc", "other").expect("a login");
        assert!(again.proof(&answer(&key, &begun, "n=,r=abc")).is_none());
    }

    #[test]
    fn malformed_messages_and_verifiers_are_refused() {
        for first in ["", "n,,", "n,,n=", "n,,n=,r=", "p=tls-server-end-point,,n=,r=a", "x,,n=,r=a", "n,,m=x,n=,r=a"] {
            assert!(Begun::new(first.as_bytes(), "b").is_none(), "{first}");
        }
        assert!(Begun::new(b"y,a=x,n=user,r=a", "b").is_some());
        assert!(Begun::new(format!("n,,n=,r={}", "a".repeat(SAID_MAX)).as_bytes(), "b").is_none());
        let begun = Begun::new(b"n,,n=,r=a", "b").expect("a login");
        for last in ["", "c=biws,r=ab", "c=biws,r=ab,p=", "c=biws,r=a,p=AAAA", "c=eSws,r=ab,p=AAAA"] {
            assert!(begun.proof(last.as_bytes()).is_none(), "{last}");
        }
        for text in ["", "SCRAM-SHA-256$4096:YWJj$AAAA:AAAA", &format!("{PREFIX}AAAA:AAAA")] {
            assert!(Verifier::parse(text).is_none(), "{text}");
        }
    }

    #[test]
    fn the_prefix_of_verifiers_has_the_salt_and_the_rounds() {
        assert_eq!(PREFIX, format!("{MECHANISM}${ROUNDS}:{}$", STANDARD.encode(SALT)));
    }
}

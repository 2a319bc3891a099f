//! Keys, and the rows that each of them may read. Only the SHA-256 of a key is kept, so a leaked file opens nothing, as
//! long as keys are random: from the hash of a word that people think of, the word can be found.
//!
//! ```text
//!   # a line a key: its SHA-256 in hex, a space, the campaigns that it sees by comma, or * for everything
//!   5e884898da28047151d0e56f8dc6292773603d0d6aabbdd62a11ef721d1542d8 spring,summer
//!   # with [people] before them, also who clicked: the columns ip, user_id and extra
//!   2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b [people] spring
//! ```
//!
//! Keys that `clicklake key` makes have a colon and a verifier behind the hash, by which clients of PostgreSQL log in
//! without sending the key: see [`super::scram`].
//!
//! A lookup takes the same time whether the key exists, and wherever it stands: it is compared with each key to the
//! last byte. The file may change while a server runs: see [`Keys::follow`].

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use lake_schemas::Code;
use lake_store::LakeError;
use prometheus_client::metrics::gauge::Gauge;
use query::RowAccess;
use sha2::{Digest, Sha256};
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};
use tokio::sync::watch;

use super::scram::{Proof, Verifier};

/// Text that stands for all campaigns.
const EVERYTHING: &str = "*";

/// Prefix before the campaigns of a key that also sees people.
const PEOPLE: &str = "[people] ";

/// Maximum number of keys in a file: each is compared with every key that a client shows.
const KEYS_MAX: usize = 10_000;

/// Maximum size of a file of keys, in bytes: ten thousand lines with some names each. The campaigns of a key are passed
/// on to the process that answers its SQL, which takes no more than twice as much.
pub(super) const BYTES_MAX: usize = 4 << 20;

type Hash = [u8; 32];

/// Identifier of a key: tells keys apart without revealing them.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct KeyId(Hash);

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }
}

impl KeyId {
    /// Returns the identifier of a key.
    pub fn of(key: &str) -> Self {
        Self(Sha256::digest(key.as_bytes()).into())
    }
}

/// The client who asks: a key, and the rows it may read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Who {
    /// Identifier of the key; `None` on a server without keys, where everyone is the same.
    pub key: Option<KeyId>,
    /// Row-level access of the key when it was shown.
    pub access: RowAccess,
}

impl Who {
    /// Client of a server without keys: everyone may read everything.
    pub const ANYONE: Self = Self { key: None, access: RowAccess::All };
}

/// One line of the file of keys.
struct Line {
    hash: Hash,
    verifier: Option<Verifier>,
    access: RowAccess,
}

impl Line {
    fn who(&self) -> Who {
        Who { key: Some(KeyId(self.hash)), access: self.access.clone() }
    }
}

/// Keys of a server, which may be replaced while it runs.
pub struct Keys {
    lines: watch::Sender<Arc<[Line]>>,
    /// Metric: 1 while the file of keys, as it is now, is refused; else 0.
    pub(super) refused: Gauge,
}

impl Keys {
    /// Reads keys from the lines of a file. An error names the line, and never repeats its text.
    pub fn parse(text: &str) -> Result<Self, LakeError> {
        Ok(Self { lines: watch::Sender::new(lines_of(text)?), refused: Gauge::default() })
    }

    /// Returns the row-level access of a key; `None` if there is no such key.
    pub fn access(&self, key: &str) -> Option<RowAccess> {
        self.shown(key).map(|who| who.access)
    }

    /// Returns the client that shows a key; `None` if there is no such key.
    pub(super) fn shown(&self, key: &str) -> Option<Who> {
        of_key(&self.lines(), KeyId::of(key))
    }

    /// Returns whether some keys, or all, can log in by a proof.
    pub(super) fn are_proved(&self) -> Proved {
        let lines = self.lines();
        match lines.iter().filter(|line| line.verifier.is_some()).count() {
            0 => Proved::None,
            count if count == lines.len() => Proved::All,
            _ => Proved::Some,
        }
    }

    /// Finds the client who proves to have a key, and the server's answer to the proof.
    pub(super) fn proved(&self, proof: &Proof) -> Option<(Who, String)> {
        let lines = self.lines();
        let mut found = u32::MAX;
        for (place, line) in (0_u32..).zip(lines.iter()) {
            if let Some(verifier) = &line.verifier {
                found.conditional_assign(&place, proof.is_of(verifier));
            }
        }
        let line = lines.get(found as usize)?;
        Some((line.who(), proof.server_last(line.verifier.as_ref()?)))
    }

    /// Checks that a client proves to have this key; returns the client, and the server's answer to the proof.
    pub(super) fn proved_of(&self, key: KeyId, proof: &Proof) -> Option<(Who, String)> {
        let lines = self.lines();
        let line = line_of(&lines, key)?;
        let verifier = line.verifier.as_ref()?;
        bool::from(proof.is_of(verifier)).then(|| (line.who(), proof.server_last(verifier)))
    }

    /// Waits until the key of a client is removed, or its access changes.
    pub(super) async fn until_lost(&self, who: &Who) {
        // The wait cannot fail: the sender lives as long as `self`.
        let _ = self.lines.subscribe().wait_for(|lines| !has(lines, who)).await;
    }

    fn lines(&self) -> Arc<[Line]> {
        Arc::clone(&self.lines.borrow())
    }

    /// Replaces all keys by those of a text. If any line is wrong, all keys stay as they were.
    pub fn replace(&self, text: &str) -> Result<(), LakeError> {
        self.lines.send_replace(lines_of(text)?);
        Ok(())
    }
}

/// Returns the client with this key, if there is such a key.
fn of_key(lines: &[Line], key: KeyId) -> Option<Who> {
    line_of(lines, key).map(Line::who)
}

/// Returns the line of a key, in the same time wherever it stands.
fn line_of(lines: &[Line], key: KeyId) -> Option<&Line> {
    let mut found = u32::MAX;
    for (place, line) in (0_u32..).zip(lines) {
        found.conditional_assign(&place, line.hash.ct_eq(&key.0));
    }
    let is_there: Choice = !found.ct_eq(&u32::MAX);
    if bool::from(is_there) { lines.get(found as usize) } else { None }
}

/// Returns whether the key of a client still exists with the same access.
fn has(lines: &[Line], who: &Who) -> bool {
    who.key.is_none_or(|key| of_key(lines, key).as_ref() == Some(who))
}

pub(super) fn too_long() -> String {
    format!("the keys take more than {} MiB; a server has {KEYS_MAX} keys at most", BYTES_MAX >> 20)
}

fn lines_of(text: &str) -> Result<Arc<[Line]>, LakeError> {
    if text.len() > BYTES_MAX {
        return Err(LakeError::Refused(Code::KeysFile.because(too_long())));
    }
    let (mut lines, mut there) = (Vec::new(), HashSet::new());
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let wrong =
            |what: &str| LakeError::Refused(Code::KeysFile.because(format!("line {number} of the keys: {what}")));
        let (key, campaigns) = line.split_once(' ').ok_or_else(|| wrong(EXPECTED))?;
        let (hash, verifier) = key.split_once(':').map_or((key, None), |(hash, of)| (hash, Some(of)));
        let verifier = verifier.map(|of| Verifier::parse(of).ok_or_else(|| wrong(VERIFIER))).transpose()?;
        let hash = hash_of(hash).ok_or_else(|| wrong(EXPECTED))?;
        if !there.insert(hash) {
            return Err(wrong("that key is there already; give all its campaigns in one line"));
        }
        lines.push(Line { hash, verifier, access: access(campaigns.trim()).map_err(wrong)? });
    }
    match lines.len() {
        0 => Err(LakeError::Refused(Code::KeysFile.because(format!("there are no keys; {EXPECTED}")))),
        count if count > KEYS_MAX => Err(LakeError::Refused(
            Code::KeysFile.because(format!("there are {count} keys; a server has {KEYS_MAX} at most")),
        )),
        _ => Ok(lines.into()),
    }
}

/// Extent of the keys that have a verifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Proved {
    None,
    Some,
    All,
}

const VERIFIER: &str = "what stands behind the hash and a colon is made by `clicklake key`, and by nothing else";

const BRACKETS: &str = "[people] stands once, in small letters, with a blank behind it, before the campaigns; no other \
     word stands in brackets there";

const EXPECTED: &str = "expected the SHA-256 of a key in hex (printf %s KEY | sha256sum), a space, and its campaigns \
     by comma, after [people] if it sees who clicked, or * for everything";

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} keys", self.lines().len())
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

/// Reads the row-level access of a key from the end of its line.
fn access(campaigns: &str) -> Result<RowAccess, &'static str> {
    if campaigns == EVERYTHING {
        return Ok(RowAccess::All);
    }
    let (campaigns, has_people) = match campaigns.strip_prefix(PEOPLE) {
        Some(campaigns) => (campaigns.trim_start(), true),
        None => (campaigns, false),
    };
    // A misspelt prefix would otherwise name a campaign that does not exist, and nobody would see why.
    if campaigns.strip_prefix('[').is_some_and(|rest| rest.contains(']')) {
        return Err(BRACKETS);
    }
    let names = campaigns.split(',').map(|name| match name {
        "" => Err("a campaign has no name"),
        EVERYTHING => Err("* stands alone, for everything"),
        // A blank too many would make another campaign, which does not exist, and nobody would see why.
        name if name != name.trim() => Err("a campaign begins or ends with a blank; write a,b and not a, b"),
        name => Ok(name.to_owned()),
    });
    let names = names.collect::<Result<_, _>>()?;
    Ok(if has_people { RowAccess::People(names) } else { RowAccess::Campaigns(names) })
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    /// SHA-256 of "password", and of "secret".
    const PASSWORD: &str = "5e884898da28047151d0e56f8dc6292773603d0d6aabbdd62a11ef721d1542d8";
    const SECRET: &str = "2BB80D537B1DA3E38BD30361AA855686BDE0EACD7162FEF6A25FE97BF527A25B";

    #[test]
    fn a_key_sees_its_campaigns() {
        let keys = Keys::parse(&format!("# people\n\n{PASSWORD} spring,Summer 24\n {SECRET}  *\n")).expect("keys");
        let own = ["spring", "Summer 24"].map(str::to_owned);
        assert_eq!(keys.access("password"), Some(RowAccess::Campaigns(own.into())));
        assert_eq!(keys.access("secret"), Some(RowAccess::All));
        for wrong in ["", "Password", "password ", PASSWORD, "*"] {
            assert_eq!(keys.access(wrong), None, "{wrong}");
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
        // Shown in clear text, a key with a verifier is matched by its hash like any other.
        let spring = RowAccess::Campaigns(["spring".to_owned()].into());
        assert_eq!(Keys::parse(&line).expect("a key").access(&key), Some(spring));
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
            (format!("{PASSWORD} spring, summer"), "line 1 of the keys: a campaign begins or ends with a blank"),
            (format!("{PASSWORD} spring ,summer"), "line 1 of the keys: a campaign begins or ends with a blank"),
            (format!("{PASSWORD} spring,*"), "line 1 of the keys: * stands alone"),
            (format!("{PASSWORD} [people] *"), "line 1 of the keys: * stands alone"),
            (format!("{PASSWORD} [people]"), "line 1 of the keys: [people] stands once"),
            (format!("{PASSWORD} [people]spring"), "line 1 of the keys: [people] stands once"),
            (format!("{PASSWORD} [People] spring"), "line 1 of the keys: [people] stands once"),
            (format!("{PASSWORD} [people] [people] spring"), "line 1 of the keys: [people] stands once"),
            (format!("{PASSWORD} [persons] spring"), "line 1 of the keys: [people] stands once"),
            (format!("{PASSWORD} [foo]"), "line 1 of the keys: [people] stands once"),
            (format!("{PASSWORD} [people] [foo] spring"), "line 1 of the keys: [people] stands once"),
            ("#".repeat(BYTES_MAX + 1), "the keys take more than 4 MiB"),
            (twice, "line 2 of the keys: that key is there already"),
            ("# nothing".to_owned(), "there are no keys"),
        ];
        for (text, expected) in cases {
            let said = Keys::parse(&text).expect_err("it is wrong").to_string();
            assert!(said.starts_with(expected) && !said.contains("5e88") && !said.contains("spring"), "{said}");
        }
    }

    #[test]
    fn people_are_seen_by_who_may_see_them() {
        let keys = Keys::parse(&format!("{PASSWORD} [people] spring\n{SECRET} people")).expect("keys");
        assert_eq!(keys.access("password"), Some(RowAccess::People(["spring".to_owned()].into())));
        assert_eq!(keys.access("secret"), Some(RowAccess::Campaigns(["people".to_owned()].into())));
    }

    #[test]
    fn a_key_that_is_taken_out_or_sees_something_else_is_no_longer_what_was_shown() {
        let keys = Keys::parse(&format!("{PASSWORD} spring\n{SECRET} *")).expect("keys");
        let shown = ["password", "secret"].map(|key| keys.shown(key).expect("a key"));
        keys.replace("nonsense").expect_err("it is no file of keys");
        assert!(shown.iter().all(|who| has(&keys.lines(), who)), "what is wrong changes nothing");
        assert!(keys.until_lost(&shown[0]).now_or_never().is_none());
        keys.replace(&format!("{PASSWORD} summer")).expect("keys");
        assert!(!shown.iter().any(|who| has(&keys.lines(), who)));
        assert!(keys.until_lost(&shown[0]).now_or_never().is_some());
        assert_eq!(keys.access("password"), Some(RowAccess::Campaigns(["summer".to_owned()].into())));
        assert_eq!(keys.access("secret"), None);
    }
}

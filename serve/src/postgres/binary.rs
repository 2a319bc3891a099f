//! Checks values in PostgreSQL's binary formats before a library reads them: the library reserves space for as many
//! elements as an array claims to have, and takes numbers for others that PostgreSQL refuses.

use datafusion_postgres::pgwire::api::Type;

use super::errors::Refused;
use super::messages::UnparsedBytes;

/// Microseconds of a day: a time is less than that.
const DAY_MICROS: i64 = 86_400_000_000;

/// Maximum microseconds of an interval: the engine counts nanoseconds.
const INTERVAL_MICROS_MAX: u64 = i64::MAX.unsigned_abs() / 1_000;

/// Bytes of an interval: its microseconds, its days, its months.
const INTERVAL_BYTES: usize = 16;

/// Base of the digits of a number: each is less than that.
const DIGIT_BASE: u16 = 10_000;

/// Length of the header of a number, in words of two bytes: how many digits there are, the weight of the first, the
/// sign, and the digits behind the point.
const NUMERIC_HEAD: usize = 4;

/// Refuses bytes that are no value of a type.
pub(super) fn check(kind: &Type, value: &[u8]) -> Result<(), Refused> {
    let is_right = match *kind {
        Type::TIME => {
            let micros = number(value).ok_or_else(|| wrong(kind))?;
            return if (0..DAY_MICROS).contains(&micros) { Ok(()) } else { Err(out_of_range(kind)) };
        }
        Type::INTERVAL => {
            let (micros, _days_and_months) = value.split_at_checked(size_of::<i64>()).ok_or_else(|| wrong(kind))?;
            let micros = number(micros).filter(|_| value.len() == INTERVAL_BYTES).ok_or_else(|| wrong(kind))?;
            let is_in_range = micros.unsigned_abs() <= INTERVAL_MICROS_MAX;
            return if is_in_range { Ok(()) } else { Err(out_of_range(kind)) };
        }
        Type::NUMERIC => is_numeric(value),
        _ if is_array(kind) => return array(kind, value),
        _ => true,
    };
    if is_right { Ok(()) } else { Err(wrong(kind)) }
}

/// Returns whether a type is an array, whose name is that of its elements behind an underscore.
fn is_array(kind: &Type) -> bool {
    kind.name().starts_with('_')
}

/// Returns the type of the elements of an array, if they are checked.
fn element(kind: &Type) -> Option<Type> {
    match *kind {
        Type::TIME_ARRAY => Some(Type::TIME),
        Type::INTERVAL_ARRAY => Some(Type::INTERVAL),
        Type::NUMERIC_ARRAY => Some(Type::NUMERIC),
        _ => None,
    }
}

/// Checks an array: its number of dimensions, whether it has nulls, the type of its elements, the length and the lower
/// bound of each dimension, then its elements.
fn array(kind: &Type, value: &[u8]) -> Result<(), Refused> {
    let mut rest = UnparsedBytes(value);
    let count = head(&mut rest).ok_or_else(|| wrong(kind))?;
    let element = element(kind);
    for _ in 0..count {
        let value = rest.nullable().ok_or_else(|| wrong(kind))?;
        if let (Some(element), Some(value)) = (&element, value) {
            check(element, value)?;
        }
    }
    if rest.0.is_empty() { Ok(()) } else { Err(wrong(kind)) }
}

/// Reads how many elements an array claims to have; `None` if it has more than one dimension.
fn head(rest: &mut UnparsedBytes<'_>) -> Option<i32> {
    let dimensions = i32::from_be_bytes(rest.array()?);
    let _flags_and_type = rest.take(size_of::<u32>() * 2)?;
    let mut count = 0;
    if dimensions > 0 {
        count = i32::from_be_bytes(rest.array()?);
        let _begins_at = rest.take(size_of::<i32>())?;
    }
    ((0..=1).contains(&dimensions) && count >= 0).then_some(count)
}

/// Returns whether a value is a number whose digits are valid.
fn is_numeric(value: &[u8]) -> bool {
    let words = value.chunks(size_of::<u16>()).map(|word| word.try_into().map(u16::from_be_bytes));
    let Ok(words) = words.collect::<Result<Vec<_>, _>>() else { return false };
    let Some((head, digits)) = words.split_at_checked(NUMERIC_HEAD) else { return false };
    usize::from(head[0]) == digits.len() && digits.iter().all(|digit| *digit < DIGIT_BASE)
}

fn number(value: &[u8]) -> Option<i64> {
    value.try_into().ok().map(i64::from_be_bytes)
}

fn wrong(kind: &Type) -> Refused {
    Refused::not_binary(&format!(
        "a parameter of type {kind} is not as the binary format has it; see how it is encoded"
    ))
}

fn out_of_range(kind: &Type) -> Refused {
    Refused::no_time(&format!("a parameter of type {kind} is out of range"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_array_has_as_many_elements_as_it_says() {
        let array = |dimensions: i32, count: i32, elements: &[u8]| {
            let head = [dimensions, 0, 23, count, 1].map(i32::to_be_bytes).concat();
            check(&Type::INT4_ARRAY, &[head.as_slice(), elements].concat())
        };
        assert_eq!(array(1, 2, b"\0\0\0\x04\0\0\0\x07\xff\xff\xff\xff"), Ok(()));
        assert_eq!(check(&Type::INT4_ARRAY, &[0, 0, 23].map(i32::to_be_bytes).concat()), Ok(()));
        for (dimensions, count, elements) in [
            (1, i32::MAX, &b"\0\0\0\x04\0\0\0\x07"[..]),
            (1, -1, b""),
            (-1, 1, b""),
            (2, 1, b"\0\0\0\x04\0\0\0\x07"),
            (1, 1, b"\0\0\0\x05\0\0\0\x07"),
            (1, 1, b"\xff\xff\xff\xfe"),
            (1, 1, b"\xff\xff\xff\xff\0"),
        ] {
            assert_eq!(array(dimensions, count, elements), Err(wrong(&Type::INT4_ARRAY)), "{dimensions} {count}");
        }
        assert!(check(&Type::INT4_ARRAY, b"\0\0").is_err());
    }

    #[test]
    fn what_would_be_taken_for_another_value_is_refused() {
        let time = |micros: i64| check(&Type::TIME, &micros.to_be_bytes());
        assert_eq!((time(0), time(DAY_MICROS - 1)), (Ok(()), Ok(())));
        for micros in [-1, DAY_MICROS, i64::MAX, i64::MIN] {
            assert_eq!(time(micros), Err(out_of_range(&Type::TIME)), "{micros}");
        }
        let interval = |micros: i64| check(&Type::INTERVAL, &[&micros.to_be_bytes()[..], &[0; 8]].concat());
        assert_eq!((interval(1), interval(-1)), (Ok(()), Ok(())));
        for micros in [i64::MAX, i64::MIN, i64::MAX / 1_000 + 1] {
            assert_eq!(interval(micros), Err(out_of_range(&Type::INTERVAL)), "{micros}");
        }
        let numeric = |words: &[u16]| {
            let bytes: Vec<_> = words.iter().flat_map(|word| word.to_be_bytes()).collect();
            check(&Type::NUMERIC, &bytes)
        };
        assert_eq!((numeric(&[0, 0, 0, 0]), numeric(&[1, 0, 0, 0, 9_999])), (Ok(()), Ok(())));
        for words in [&[1, 0, 0, 0, 65_535][..], &[1, 0, 0, 0, 10_000], &[2, 0, 0, 0, 1], &[1, 0, 0]] {
            assert_eq!(numeric(words), Err(wrong(&Type::NUMERIC)), "{words:?}");
        }
        assert!(check(&Type::NUMERIC, b"\0").is_err() && check(&Type::TIME, b"\0").is_err());
        let elements = [&[1, 0, 1_083, 1, 1, 8].map(i32::to_be_bytes).concat()[..], &DAY_MICROS.to_be_bytes()].concat();
        assert_eq!(check(&Type::TIME_ARRAY, &elements), Err(out_of_range(&Type::TIME)));
    }
}

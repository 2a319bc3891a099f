//! Bin-packing: decides which files of a folder are merged into one. No I/O.
//!
//! Files keep their order, so only neighbours are merged. Rewriting a file costs all of its bytes. In a folder that
//! still grows, files are therefore merged only when there are many of about one size, so that a row is rewritten a few
//! times until its folder closes, and once more after that.

use std::ops::Range;

/// Target size of a merged file, in bytes: a reader opens this much at once, and a writer holds it in memory.
pub const TARGET_BYTES: u64 = 128 * 1024 * 1024;

/// Sizes, in bytes, to which files of a folder that still grows are merged, one tier after the other.
const TIERS_BYTES: [u64; 3] = [1024 * 1024, 16 * 1024 * 1024, TARGET_BYTES];

/// Minimum number of files for a merge that neither closes a folder nor fills a tier.
const FILES_MIN: usize = 16;

/// Minimum number of files for a merge whose output fills a tier.
const FILES_MIN_FULL: usize = 4;

/// Number of files at which they are merged at any cost: a large file among them is then rewritten with the small ones.
const FILES_MANY: usize = 48;

/// State of a folder: whether it still grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Growth {
    /// Receives rows only by exception. A late row is no reason to rewrite the whole folder each time.
    Closed,
    /// Still receives rows.
    Open,
}

/// Returns the runs of neighbours to merge, given the sizes in bytes of all files in their order.
pub fn bin_packing(bytes: &[u64], growth: Growth) -> Vec<Range<usize>> {
    match growth {
        Growth::Closed => closed(bytes),
        Growth::Open => open(bytes),
    }
}

fn closed(bytes: &[u64]) -> Vec<Range<usize>> {
    let is_worth_it = |bin: &Range<usize>| {
        let (total, largest) = total_and_largest(&bytes[bin.clone()]);
        bin.len() > 1 && (largest <= total - largest || bin.len() >= FILES_MIN)
    };
    filled(bytes, TARGET_BYTES / 2, TARGET_BYTES).into_iter().filter(is_worth_it).collect()
}

fn open(bytes: &[u64]) -> Vec<Range<usize>> {
    let mut found: Vec<Range<usize>> = Vec::new();
    for tier in TIERS_BYTES {
        for bin in filled(bytes, tier, 2 * tier) {
            let (total, largest) = total_and_largest(&bytes[bin.clone()]);
            let is_free = found.iter().all(|other| bin.end <= other.start || other.end <= bin.start);
            let are_alike = largest <= total - largest;
            let min = if total >= tier { FILES_MIN_FULL } else { FILES_MIN };
            if is_free && (are_alike && bin.len() >= min || bin.len() >= FILES_MANY) {
                found.push(bin);
            }
        }
    }
    found.sort_by_key(|bin| bin.start);
    found
}

/// Returns runs of neighbours that are each smaller than `small`, and together no larger than `full`.
fn filled(bytes: &[u64], small: u64, full: u64) -> Vec<Range<usize>> {
    let mut runs: Vec<Range<usize>> = Vec::new();
    let mut total = 0;
    for (at, &size) in bytes.iter().enumerate() {
        if size >= small {
            continue;
        }
        match runs.last_mut() {
            Some(run) if run.end == at && total + size <= full => {
                run.end += 1;
                total += size;
            }
            _ => {
                runs.push(at..at + 1);
                total = size;
            }
        }
    }
    runs
}

fn total_and_largest(bytes: &[u64]) -> (u64, u64) {
    (bytes.iter().sum(), bytes.iter().copied().max().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use lake_store::files::FILE_BYTES;

    use super::*;

    const MIB: u64 = 1024 * 1024;

    fn found(bytes: &[u64], growth: Growth) -> Vec<(usize, usize)> {
        bin_packing(bytes, growth).into_iter().map(|bin| (bin.start, bin.end)).collect()
    }

    #[test]
    fn a_folder_that_closes_becomes_few_files_of_the_target_size() {
        assert_eq!(found(&[MIB; 300], Growth::Closed), [(0, 128), (128, 256), (256, 300)]);
    }

    #[test]
    fn a_straggler_is_no_reason_to_rewrite_a_large_file() {
        assert_eq!(found(&[60 * MIB, 1_000], Growth::Closed), []);
        assert_eq!(found(&[100 * MIB, 1_000, 1_000], Growth::Closed), [(1, 3)], "they are neighbours of it, no more");
        let mut many = vec![60 * MIB];
        many.extend([1_000; 15]);
        assert_eq!(found(&many, Growth::Closed), [(0, 16)], "many are");
    }

    #[test]
    fn a_growing_folder_waits_for_many_files_of_a_size() {
        assert_eq!(found(&[30_000; 15], Growth::Open), []);
        assert_eq!(found(&[30_000; 16], Growth::Open), [(0, 16)]);
        assert_eq!(found(&[20 * MIB, MIB, MIB, MIB, 30_000], Growth::Open), []);
        let full = [12 * MIB, 12 * MIB, 12 * MIB, 12 * MIB];
        assert_eq!(found(&full, Growth::Open), [], "two by two they are full, and two are not many");
    }

    /// Replays a year of commits: no folder ends up with many files, and no row is rewritten often.
    #[test]
    fn files_stay_few_and_rewrites_too() {
        for size in [2_000, 30_000, 400_000] {
            let (mut files, mut rewritten, mut most) = (Vec::new(), 0_u64, 0);
            let commits = 17_280;
            for commit in 0..commits {
                files.push(size);
                if commit % 12 == 0 {
                    while let Some(bin) = bin_packing(&files, Growth::Open).into_iter().next() {
                        let total: u64 = files[bin.clone()].iter().sum();
                        rewritten += total;
                        let full = usize::try_from(total / FILE_BYTES).expect("small");
                        let rest = (!total.is_multiple_of(FILE_BYTES)).then_some(total % FILE_BYTES);
                        files.splice(bin, std::iter::repeat_n(FILE_BYTES, full).chain(rest));
                    }
                }
                most = most.max(files.len());
            }
            let times = rewritten as f64 / (size * commits) as f64;
            assert!(most <= 80, "{size}: {most} files");
            assert!(times <= 8.0, "{size}: each byte {times} times");
        }
    }
}

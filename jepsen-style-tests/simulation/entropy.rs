//! The one source of randomness of this process, so that a seed decides everything.
//!
//! The standard library's hash maps, tokio's order of polling and waking, and every generator of
//! `rand` are seeded from the C library's `getrandom`. This process defines that function itself and
//! answers from a generator of its own. It is the only place of the workspace with `unsafe` code:
//! the symbol has to be defined by its C name and to write through the pointer that it is given.
#![allow(unsafe_code)]

use std::sync::atomic::{AtomicU64, Ordering};

static STATE: AtomicU64 = AtomicU64::new(0);

/// From now on all randomness is a function of the seed. Called once, before anything else.
pub fn seed(seed: u64) {
    STATE.store(seed, Ordering::Relaxed);
}

/// SplitMix64: a full period, and good enough to seed other generators.
fn next() -> u64 {
    const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut z = STATE.fetch_add(STEP, Ordering::Relaxed).wrapping_add(STEP);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// In place of the C library's function of this name, whose meaning it keeps: fills `len` bytes
/// and gives their number.
///
/// # Safety
/// The caller gives a buffer of at least `len` bytes that may be written, as the C function wants.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn getrandom(buffer: *mut u8, len: usize, _flags: u32) -> isize {
    let mut at = 0;
    while at < len {
        let bytes = next().to_le_bytes();
        let n = bytes.len().min(len - at);
        // SAFETY: `at + n <= len`, and the caller vouches for `len` bytes at `buffer`, which cannot
        // overlap a local array.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), buffer.add(at), n) };
        at += n;
    }
    isize::try_from(len).unwrap_or(isize::MAX)
}

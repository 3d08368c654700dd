//! What the records contain.

/// 64-bit FNV-1a (Fowler, Noll, Vo): small and stable, for digests of short texts. Not for hostile input.
pub fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

//! CRC-32C (Castagnoli), the checksum of Kafka's record batches (RFC 3720, appendix B.4).

/// The CRC-32C of `bytes`.
pub fn crc32c(bytes: &[u8]) -> u32 {
    // The crate answers 64 bits for every width; CRC-32C lives in the low half.
    (crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, bytes) & 0xffff_ffff) as u32
}

#[cfg(test)]
mod tests {
    #[test]
    fn check_value_of_the_catalogue() {
        // The "check" value that every CRC catalogue gives for CRC-32C.
        assert_eq!(super::crc32c(b"123456789"), 0xe306_9283);
    }
}

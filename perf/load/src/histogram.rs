//! Counts of nanoseconds in buckets of at most 1/32 relative width; recording is a shift and an increment.

const SUB_BITS: u32 = 5;

pub struct Histogram {
    counts: Vec<u64>,
    total: u64,
    max: u64,
}

impl Histogram {
    pub fn new() -> Self {
        Histogram {
            counts: vec![0; (64 << SUB_BITS) as usize],
            total: 0,
            max: 0,
        }
    }

    #[inline]
    pub fn record(&mut self, ns: u64) {
        self.counts[bucket(ns)] += 1;
        self.total += 1;
        self.max = self.max.max(ns);
    }

    pub fn total(&self) -> u64 {
        self.total
    }

    pub fn max(&self) -> u64 {
        self.max
    }

    /// The upper end of the bucket in which the quantile lies, at most `max`; 0 when nothing was recorded.
    pub fn quantile(&self, quantile: f64) -> u64 {
        let wanted = ((self.total as f64 * quantile).ceil() as u64).max(1);
        let mut seen = 0;
        for (index, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= wanted {
                return upper(index).min(self.max);
            }
        }
        self.max
    }
}

fn bucket(ns: u64) -> usize {
    let bits = 64 - ns.leading_zeros();
    if bits <= SUB_BITS + 1 {
        return ns as usize;
    }
    let shift = bits - SUB_BITS - 1;
    ((shift as usize) << SUB_BITS) + (ns >> shift) as usize
}

fn upper(index: usize) -> u64 {
    let wide = index >> SUB_BITS;
    if wide < 2 {
        return index as u64;
    }
    let shift = wide as u32 - 1;
    let mantissa = (index - ((shift as usize) << SUB_BITS)) as u64;
    (((u128::from(mantissa) + 1) << shift) - 1).min(u128::from(u64::MAX)) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_lies_in_its_bucket() {
        for ns in (0..10_000).chain([65_535, 65_536, 1 << 40, (1 << 40) + 12_345_678, u64::MAX]) {
            let index = bucket(ns);
            assert!(upper(index) >= ns, "{ns}");
            assert!(index == 0 || upper(index - 1) < ns, "{ns}");
        }
    }

    #[test]
    fn quantiles() {
        let mut histogram = Histogram::new();
        assert_eq!(histogram.quantile(0.5), 0);
        for ns in 1..=1000 {
            histogram.record(ns);
        }
        assert_eq!(histogram.max(), 1000);
        assert!((500..=515).contains(&histogram.quantile(0.5)));
        assert!((990..=1000).contains(&histogram.quantile(0.99)));
    }
}

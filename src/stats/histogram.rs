//! How are the values distributed? Fixed edges, so that histograms of any two hours merge and compare exactly.
//!
//! A bin holds (lower edge, upper edge]; zero has a bin of its own on both scales. A bet that must stay valid on
//! binned values takes the edge that works against it, which is why both edges are public. Tests run on bins and
//! never on rank sketches, whose rank error turns into drift at large n (KS on KLL: 100 % false at 1e5 values).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize, Serializer};

/// Which fixed edges a histogram has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scale {
    /// Scores in [0, 1]: zero, then 256 bins of equal width, so that every k/256 is the upper edge of its bin.
    Unit,
    /// Non-negative counts, seconds, tokens, dollars: zero, then 8 bins per octave from 2^-40 to 2^64 (9 % wide;
    /// powers of two, and so small counts, are upper edges). Values beyond the ends stay in the last bins.
    Magnitude,
}

/// Index of the bin that holds exactly zero on [`Scale::Magnitude`]: one below the smallest positive bin.
const MAGNITUDE_ZERO: i32 = MAGNITUDE_LOWEST - 1;
const MAGNITUDE_LOWEST: i32 = -40 * BINS_PER_OCTAVE;
const MAGNITUDE_HIGHEST: i32 = 64 * BINS_PER_OCTAVE;
const BINS_PER_OCTAVE: i32 = 8;
const UNIT_BINS: i32 = 256;

impl Scale {
    /// The bin of a value; out-of-range values go to the nearest bin.
    #[must_use]
    pub fn bin(self, value: f64) -> i32 {
        match self {
            Self::Unit => (value.clamp(0.0, 1.0) * f64::from(UNIT_BINS)).ceil() as i32,
            Self::Magnitude if value <= 0.0 => MAGNITUDE_ZERO,
            Self::Magnitude => {
                let bin = (value.log2() * f64::from(BINS_PER_OCTAVE)).ceil() as i32;
                bin.clamp(MAGNITUDE_LOWEST, MAGNITUDE_HIGHEST)
            }
        }
    }

    /// The bin itself, or the nearest that there is.
    fn nearest(self, bin: i32) -> i32 {
        match self {
            Self::Unit => bin.clamp(0, UNIT_BINS),
            Self::Magnitude => bin.clamp(MAGNITUDE_ZERO, MAGNITUDE_HIGHEST),
        }
    }

    /// Largest value of a bin.
    #[must_use]
    pub fn upper_edge(self, bin: i32) -> f64 {
        match self {
            Self::Unit => f64::from(bin) / f64::from(UNIT_BINS),
            Self::Magnitude if bin <= MAGNITUDE_ZERO => 0.0,
            Self::Magnitude => (f64::from(bin) / f64::from(BINS_PER_OCTAVE)).exp2(),
        }
    }

    /// Value that every member of a bin exceeds, or zero for the bin of zero.
    #[must_use]
    pub fn lower_edge(self, bin: i32) -> f64 {
        match self {
            Self::Unit => f64::from((bin - 1).max(0)) / f64::from(UNIT_BINS),
            Self::Magnitude => self.upper_edge(bin - 1),
        }
    }
}

/// A weighted, mergeable histogram. Written down as runs of occupied bins, so that neither a bin's number nor a gap
/// takes space: less than 2 KB for a million scores.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(from = "Runs", into = "Runs")]
pub struct Histogram {
    scale: Scale,
    /// The lowest occupied bin; 0 when there is none.
    first: i32,
    /// Weights of the bins from `first` on; neither the first nor the last is zero.
    weights: Vec<f64>,
}

/// How a histogram is written down: each run is its first bin and the weights from there on.
#[derive(Serialize, Deserialize)]
struct Runs {
    scale: Scale,
    #[serde(default)]
    runs: Vec<(i32, Vec<Weight>)>,
    /// As it was written before there were runs: weights by bin.
    #[serde(default, skip_serializing)]
    bins: BTreeMap<i32, f64>,
}

/// A weight, written without its point where it is a whole number.
#[derive(Deserialize)]
struct Weight(f64);

impl Serialize for Weight {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        const LARGEST_WHOLE: f64 = 9_007_199_254_740_992.0;
        if self.0.fract() == 0.0 && (0.0..LARGEST_WHOLE).contains(&self.0) {
            serializer.serialize_u64(self.0 as u64)
        } else {
            serializer.serialize_f64(self.0)
        }
    }
}

impl From<Histogram> for Runs {
    fn from(histogram: Histogram) -> Self {
        let mut runs: Vec<(i32, Vec<Weight>)> = Vec::new();
        for (bin, weight) in histogram.bins() {
            match runs.last_mut() {
                Some((first, weights)) if *first + weights.len() as i32 == bin => weights.push(Weight(weight)),
                _ => runs.push((bin, vec![Weight(weight)])),
            }
        }
        Self { scale: histogram.scale, runs, bins: BTreeMap::new() }
    }
}

impl From<Runs> for Histogram {
    fn from(written: Runs) -> Self {
        let mut histogram = Self::new(written.scale);
        let bins =
            written.runs.iter().flat_map(|(first, weights)| (*first..).zip(weights.iter().map(|weight| &weight.0)));
        bins.chain(written.bins.iter().map(|(bin, weight)| (*bin, weight)))
            .for_each(|(bin, weight)| histogram.add_to(written.scale.nearest(bin), *weight));
        histogram
    }
}

impl Histogram {
    /// An empty histogram.
    #[must_use]
    pub const fn new(scale: Scale) -> Self {
        Self { scale, first: 0, weights: Vec::new() }
    }

    /// The scale.
    #[must_use]
    pub const fn scale(&self) -> Scale {
        self.scale
    }

    /// Occupied bins and their weights, in order of value.
    pub fn bins(&self) -> impl Iterator<Item = (i32, f64)> {
        (self.first..).zip(self.weights.iter().copied()).filter(|(_, weight)| *weight != 0.0)
    }

    /// Adds a finite value with a weight.
    pub fn add(&mut self, value: f64, weight: f64) {
        self.add_to(self.scale.bin(value), weight);
    }

    /// Adds another histogram of the same scale.
    pub fn merge(&mut self, other: &Self) {
        other.bins().for_each(|(bin, weight)| self.add_to(bin, weight));
    }

    fn add_to(&mut self, bin: i32, weight: f64) {
        if weight == 0.0 {
            return;
        }
        if self.weights.is_empty() {
            self.first = bin;
        } else if bin < self.first {
            let missing = (self.first - bin) as usize;
            self.weights.splice(0..0, std::iter::repeat_n(0.0, missing));
            self.first = bin;
        }
        let at = (bin - self.first) as usize;
        if at >= self.weights.len() {
            self.weights.resize(at + 1, 0.0);
        }
        self.weights[at] += weight;
    }

    /// Sum of all weights.
    #[must_use]
    pub fn weight(&self) -> f64 {
        self.weights.iter().sum()
    }

    /// The bin in which the cumulative weight share first reaches `q`; `None` when empty.
    #[must_use]
    pub fn quantile_bin(&self, q: f64) -> Option<i32> {
        let target = q * self.weight();
        let mut below = 0.0;
        for (bin, weight) in self.bins() {
            below += weight;
            if below >= target {
                return Some(bin);
            }
        }
        self.bins().last().map(|(bin, _)| bin)
    }

    /// The `q` quantile, linear inside its bin, so within one bin width of the sample quantile.
    #[must_use]
    pub fn quantile(&self, q: f64) -> Option<f64> {
        let bin = self.quantile_bin(q)?;
        let below = self.sum_where(|other| other < bin);
        let inside = Some(self.sum_where(|other| other == bin)).filter(|weight| *weight > 0.0)?;
        let part = ((q * self.weight() - below) / inside).clamp(0.0, 1.0);
        let (low, high) = (self.scale.lower_edge(bin), self.scale.upper_edge(bin));
        Some(low + part * (high - low))
    }

    /// Share of the weight in bins above `bin`: exactly the share of values over its upper edge.
    #[must_use]
    pub fn share_above(&self, bin: i32) -> f64 {
        self.sum_where(|other| other > bin) / self.weight()
    }

    /// Share of the weight in bins below `bin`: exactly the share of values at or under its lower edge.
    #[must_use]
    pub fn share_below(&self, bin: i32) -> f64 {
        self.sum_where(|other| other < bin) / self.weight()
    }

    fn sum_where(&self, is_in: impl Fn(i32) -> bool) -> f64 {
        self.bins().filter(|(bin, _)| is_in(*bin)).map(|(_, weight)| weight).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_lies_between_the_edges_of_its_bin() {
        let mut rng = fastrand::Rng::with_seed(2);
        for _ in 0..20_000 {
            let value = (rng.f64() * 80.0 - 30.0).exp2();
            let bin = Scale::Magnitude.bin(value);
            let (low, high) = (Scale::Magnitude.lower_edge(bin), Scale::Magnitude.upper_edge(bin));
            assert!(low * (1.0 - 1e-12) <= value && value <= high * (1.0 + 1e-12), "{low} {value} {high}");
            assert!(high / low < 1.0906);
            let score = rng.f64();
            let bin = Scale::Unit.bin(score);
            assert!(Scale::Unit.lower_edge(bin) < score && score <= Scale::Unit.upper_edge(bin));
        }
    }

    #[test]
    fn zero_one_quarters_and_small_counts_are_edges() {
        for quarter in 0..=4 {
            let score = f64::from(quarter) / 4.0;
            assert_eq!(Scale::Unit.upper_edge(Scale::Unit.bin(score)), score);
        }
        assert_eq!(Scale::Magnitude.upper_edge(Scale::Magnitude.bin(0.0)), 0.0);
        for power in [1.0, 2.0, 4.0, 1024.0] {
            assert_eq!(Scale::Magnitude.upper_edge(Scale::Magnitude.bin(power)), power);
        }
        let bins: Vec<i32> = (0..12).map(|count| Scale::Magnitude.bin(f64::from(count))).collect();
        assert!(bins.windows(2).all(|pair| pair[0] < pair[1]), "small counts share a bin: {bins:?}");
    }

    #[test]
    fn a_histogram_is_written_in_little_space_and_read_again_as_it_was() {
        let mut rng = fastrand::Rng::with_seed(4);
        let (mut scores, mut tokens) = (Histogram::new(Scale::Unit), Histogram::new(Scale::Magnitude));
        for _ in 0..200_000 {
            scores.add(rng.f64().max(rng.f64()), 1.0);
            tokens.add(if rng.u8(..) == 0 { 0.0 } else { (rng.f64() * 14.0).exp2() }, 0.5);
        }
        for histogram in [scores, tokens, Histogram::new(Scale::Unit)] {
            let text = serde_json::to_string(&histogram).unwrap();
            assert!(text.len() < 2_000, "{} bytes", text.len());
            assert_eq!(serde_json::from_str::<Histogram>(&text).unwrap(), histogram);
        }
    }

    #[test]
    fn a_histogram_of_an_older_baseline_is_still_read() {
        let histogram: Histogram = serde_json::from_str(r#"{"scale":"unit","bins":{"3":1.5,"256":2.0}}"#).unwrap();
        assert_eq!(histogram.bins().collect::<Vec<_>>(), [(3, 1.5), (256, 2.0)]);
    }

    #[test]
    fn a_written_bin_that_does_not_exist_takes_no_space() {
        let text = r#"{"scale":"magnitude","runs":[[-2000000000,[1.0]],[2000000000,[2.0]]]}"#;
        let histogram: Histogram = serde_json::from_str(text).unwrap();
        let bins: Vec<(i32, f64)> = histogram.bins().collect();
        assert_eq!(bins, [(MAGNITUDE_ZERO, 1.0), (MAGNITUDE_HIGHEST, 2.0)]);
    }

    #[test]
    fn values_beyond_the_ends_stay_in_the_last_bins() {
        assert_eq!(Scale::Magnitude.bin(1e-300), MAGNITUDE_LOWEST);
        assert_eq!(Scale::Magnitude.bin(1e300), MAGNITUDE_HIGHEST);
        assert_eq!(Scale::Unit.bin(7.0), 256);
    }

    #[test]
    fn quantiles_of_merged_parts_are_within_a_bin_of_the_sample() {
        let mut rng = fastrand::Rng::with_seed(3);
        let (mut left, mut right) = (Histogram::new(Scale::Magnitude), Histogram::new(Scale::Magnitude));
        let mut values: Vec<f64> = (0..5000).map(|_| (rng.f64() * 10.0).exp2()).collect();
        for (index, value) in values.iter().enumerate() {
            if index % 3 == 0 { left.add(*value, 1.0) } else { right.add(*value, 1.0) }
        }
        left.merge(&right);
        values.sort_by(f64::total_cmp);
        for q in [0.1, 0.5, 0.9, 0.99] {
            let exact = values[(q * 5000.0) as usize];
            let ratio = left.quantile(q).unwrap() / exact;
            assert!((1.0 / 1.0906..1.0906).contains(&ratio), "q {q}: {ratio}");
        }
        assert_eq!(Histogram::new(Scale::Unit).quantile(0.5), None);
    }
}

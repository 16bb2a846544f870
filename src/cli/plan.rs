//! `driftline plan`: what watching would find and a gate would show, before anything is switched on.

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::Context;
use super::failure::{Exit, Failure};
use super::output::Output;
use super::sources::{Source, Sources, now};
use super::table::{Table, number};
use crate::watch::baseline::Baseline;
use crate::watch::plan::{Judge, LabelPlan, Plan, SeriesPlan, Wishes, plan, supposed};

/// Most traces and streams that are supposed: a plan is no place for a simulation of everything.
const MOST_TRACES: u64 = 10_000_000;
const MOST_STREAMS: u32 = 10_000;
/// What a supposed series is called that has no name.
const SUPPOSED: &str = "supposed";

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Plan for these series: file:PATH-OR-GLOB[?column=value], where:key=value[,...] or name:BASELINE. Without it,
    /// for a series of yes and no as supposed below.
    #[arg(long, value_name = "SOURCE", conflicts_with_all = ["share", "traces", "streams", "over_dispersion"])]
    baseline: Option<String>,
    /// Labels to join, JSON lines keyed by trace_id; repeat it for more.
    #[arg(long, value_name = "FILE", requires = "baseline")]
    labels_file: Vec<PathBuf>,
    /// Only this series.
    #[arg(long, value_name = "NAME")]
    series: Option<String>,
    /// A drop of the mean score to plan for, such as 0.05; repeat it for more [default: 0.02, 0.05, 0.1].
    #[arg(long, value_name = "X", value_parser = share)]
    drop: Vec<f64>,
    /// Supposed share of runs that pass.
    #[arg(long, value_name = "SHARE", default_value_t = 0.9, value_parser = share)]
    share: f64,
    /// Supposed traces in the baseline.
    #[arg(long, value_name = "N", default_value_t = 2_000, value_parser = clap::value_parser!(u64).range(1..=MOST_TRACES))]
    traces: u64,
    /// Supposed number of series that are watched, all alike.
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=i64::from(MOST_STREAMS)))]
    streams: u32,
    /// Supposed variance of hourly means over that of chance.
    #[arg(long, value_name = "PHI", default_value_t = 1.0, value_parser = at_least_one)]
    over_dispersion: f64,
    /// Traces a day [default: as in the baseline, else 2400].
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    per_day: Option<f64>,
    /// Largest loss that a gate accepts.
    #[arg(long, value_name = "X", default_value_t = 0.02, value_parser = share)]
    margin: f64,
    /// Traces a side that a gate would have.
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = clap::value_parser!(u64).range(1..=MOST_TRACES))]
    gate_traces: u64,
    /// Share of good runs that the judge passes.
    #[arg(long, value_name = "SHARE", requires = "specificity", value_parser = share)]
    sensitivity: Option<f64>,
    /// Share of bad runs that the judge fails.
    #[arg(long, value_name = "SHARE", requires = "sensitivity", value_parser = share)]
    specificity: Option<f64>,
}

fn share(text: &str) -> Result<f64, String> {
    let share: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    if share > 0.0 && share < 1.0 { Ok(share) } else { Err("must lie between 0 and 1".to_owned()) }
}

fn at_least_one(text: &str) -> Result<f64, String> {
    let number: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    if (1.0..=1e9).contains(&number) { Ok(number) } else { Err("must be 1 or more".to_owned()) }
}

pub(super) async fn run(arguments: Arguments, context: &Context) -> Result<Exit, Failure> {
    let judge = judge(&arguments)?;
    let alerts = context.settings()?.alerts;
    let baseline = baseline(&arguments, context).await?;
    check_series(&arguments, &baseline)?;
    let drops = if arguments.drop.is_empty() { vec![0.02, 0.05, 0.1] } else { arguments.drop.clone() };
    let wishes = Wishes {
        series: arguments.series.clone().or_else(|| arguments.baseline.is_none().then(|| SUPPOSED.to_owned())),
        drops,
        per_day: arguments.per_day.or_else(|| arguments.baseline.is_none().then_some(2_400.0)),
        false_alarms: alerts.budget_per_30_days,
        segments: alerts.segments,
        margin: arguments.margin,
        gate_traces: arguments.gate_traces,
        judge,
    };
    let plan = plan(&baseline, &wishes);
    let mut output = Output::new();
    if context.json {
        output.json(&plan)?;
    } else {
        print(&plan, &mut output)?;
    }
    output.finish()?;
    Ok(if plan.series.is_empty() { Exit::NotEnough } else { Exit::Done })
}

fn judge(arguments: &Arguments) -> Result<Option<Judge>, Failure> {
    let judge = arguments.sensitivity.zip(arguments.specificity);
    let judge = judge.map(|(sensitivity, specificity)| Judge { sensitivity, specificity });
    match judge {
        Some(judge) if judge.sensitivity + judge.specificity <= 1.0 => Err(Failure::Usage(
            "--sensitivity and --specificity together must be more than 1: such a judge knows less than a coin"
                .to_owned(),
        )),
        judge => Ok(judge),
    }
}

/// The baseline to plan with.
async fn baseline(arguments: &Arguments, context: &Context) -> Result<Baseline, Failure> {
    let Some(text) = &arguments.baseline else {
        let series = arguments.series.as_deref().unwrap_or(SUPPOSED);
        return Ok(supposed(series, arguments.share, arguments.traces, arguments.over_dispersion, arguments.streams));
    };
    let source = Source::parse(text)?;
    let mut sources = Sources::new(context.settings()?, &arguments.labels_file, None, &[&source])?;
    let side = sources.load(&source).await?;
    sources.problems.report();
    Ok(side.summary("baseline", text, now()).into_owned())
}

fn check_series(arguments: &Arguments, baseline: &Baseline) -> Result<(), Failure> {
    let Some(name) = &arguments.series else { return Ok(()) };
    let known: BTreeSet<&str> = baseline.series.keys().map(|key| key.series.as_str()).collect();
    if known.contains(name.as_str()) {
        return Ok(());
    }
    let known: Vec<&str> = known.into_iter().collect();
    let known = if known.is_empty() { "none; no trace is selected".to_owned() } else { known.join(", ") };
    Err(Failure::Usage(format!("there is no series {name:?}; known: {known}")))
}

fn print(plan: &Plan, output: &mut Output) -> Result<(), Failure> {
    output.line(&format!(
        "at most {} false alarms in 30 days over everything: {} detectors, each alarming at evidence {}",
        number(plan.false_alarms_per_30_days),
        plan.detectors,
        number(plan.threshold)
    ))?;
    output.line(&format!("{} traces a day\n", number(plan.traces_per_day)))?;
    print_delays(&plan.series, output)?;
    print_gates(&plan.series, output)?;
    print_labels(&plan.series, output)?;
    plan.notes.iter().try_for_each(|note| output.line(&format!("- {note}")))
}

fn print_delays(series: &[SeriesPlan], output: &mut Output) -> Result<(), Failure> {
    let Some(first) = series.first() else { return Ok(()) };
    let found: Vec<String> = first.delays.iter().map(|delay| format!("{} found after", number(delay.drop))).collect();
    let mut headings = vec!["series", "estimate", "of", "baseline", "allowance"];
    headings.extend(found.iter().map(String::as_str));
    headings.push("found in a week");
    let mut table = Table::new(&headings);
    for one in series {
        let mut cells = vec![
            one.series.clone(),
            number(one.estimate),
            one.measure.clone(),
            one.traces.to_string(),
            number(one.allowance),
        ];
        cells.extend(one.delays.iter().map(|delay| match (delay.traces, delay.days) {
            (Some(traces), Some(days)) => format!("{} traces, {} d", number(traces), number(days)),
            _ => "never".to_owned(),
        }));
        cells.push(one.detectable_within_a_week.map_or_else(|| "nothing".to_owned(), number));
        table.row(cells);
    }
    output.line(&format!("{table}\n"))
}

fn print_gates(series: &[SeriesPlan], output: &mut Output) -> Result<(), Failure> {
    let mut table = Table::new(&["gate", "margin", "traces a side", "or pairs", "at hand", "certify"]);
    for SeriesPlan { series, gate, .. } in series {
        let counts = [gate.traces_a_side, gate.pairs].map(|count| format!("{count:.0}"));
        let certify = [gate.traces.to_string(), number(gate.certifiable_margin)];
        table.row([series.clone(), number(gate.margin)].into_iter().chain(counts).chain(certify));
    }
    if series.is_empty() { Ok(()) } else { output.line(&format!("{table}\n")) }
}

fn print_labels(series: &[SeriesPlan], output: &mut Output) -> Result<(), Failure> {
    let headings = ["labels", "share within 5 points", "to trust a judge, at random", "by its verdict"];
    let mut table = Table::new(&headings);
    let labelled = series.iter().filter_map(|one| one.labels.map(|labels| (&one.series, labels)));
    for (series, LabelPlan { for_share, for_judge_at_random, for_judge_by_verdict }) in labelled {
        let counts = [for_share, for_judge_at_random, for_judge_by_verdict].map(|count| format!("{count:.0}"));
        table.row([series.clone()].into_iter().chain(counts));
    }
    let is_asked = series.iter().any(|one| one.labels.is_some());
    if is_asked { output.line(&format!("{table}\n")) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_and_counts_out_of_range_are_refused() {
        for text in ["0", "1", "-0.1", "NaN", "x"] {
            assert!(share(text).is_err(), "{text}");
        }
        for text in ["0.5", "inf", "NaN", "-3"] {
            assert!(at_least_one(text).is_err(), "{text}");
        }
        assert_eq!((share("0.05"), at_least_one("24")), (Ok(0.05), Ok(24.0)));
    }
}

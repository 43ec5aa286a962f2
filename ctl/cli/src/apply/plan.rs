//! The plan of an apply: the differences that the node found, as lines and in numbers.

use ctl_api::proto::{self, ApplySummary, Count, Difference, resource::Resource};
use ctl_api::{Client, ClientError};
use serde::Serialize;

use crate::failure::Failure;
use crate::out::Out;
use crate::tep::Names;
use crate::{domain, havip, tep};

/// Most lines of a plan that are shown, unless it is wanted whole.
pub const LINES: u64 = 20;
/// Most TEPs that a line names before it counts the rest.
const NAMED: usize = 8;

/// JSON of a plan.
#[derive(Debug, Serialize)]
pub struct Json {
    teps: Count,
    domains: Count,
    memberships: Memberships,
    havips: Count,
}

#[derive(Debug, Serialize)]
struct Memberships {
    added: u64,
    removed: u64,
}

impl From<&ApplySummary> for Json {
    fn from(summary: &ApplySummary) -> Self {
        Self {
            teps: summary.teps.unwrap_or_default(),
            domains: summary.domains.unwrap_or_default(),
            memberships: Memberships {
                added: summary.memberships_added,
                removed: summary.memberships_removed,
            },
            havips: summary.havips.unwrap_or_default(),
        }
    }
}

/// Number of resources that differ.
pub fn size(summary: &ApplySummary) -> u64 {
    let counts = [summary.teps, summary.domains, summary.havips];
    counts.into_iter().flatten().map(|count| count.added + count.changed + count.removed).sum()
}

/// Prints a plan: line by line where it is short or `verbose`, and always in numbers.
pub fn show(
    out: &mut Out,
    differences: &[Difference],
    summary: &ApplySummary,
    names: &Names,
    verbose: bool,
) -> Result<(), Failure> {
    let size = size(summary);
    if verbose || size <= LINES {
        let most = if verbose { usize::MAX } else { NAMED };
        differences.iter().try_for_each(|difference| out.line(line(difference, names, most)))?;
    } else {
        out.line(format_args!("{size} lines of plan are not shown: --verbose shows them"))?;
    }
    let signed = |count: Option<Count>| {
        let Count { added, changed, removed } = count.unwrap_or_default();
        format!("+{added} ~{changed} -{removed}")
    };
    let (teps, domains) = (signed(summary.teps), signed(summary.domains));
    let (added, removed) = (summary.memberships_added, summary.memberships_removed);
    let havips = match summary.havips.unwrap_or_default() {
        count if count == Count::default() => String::new(),
        count => format!(", havips {}", signed(Some(count))),
    };
    out.line(format_args!("plan: teps {teps}, domains {domains}, memberships +{added} -{removed}{havips}"))
}

/// Names of the TEPs in a plan. The node is asked only where a line names one.
pub async fn names(client: &mut Client, differences: &[Difference]) -> Result<Names, ClientError> {
    let named = |difference: &Difference| {
        matches!(resource(&difference.after), Some(Resource::Domain(_) | Resource::Havip(_)))
            && difference.before.is_some()
    };
    if !differences.iter().any(named) {
        return Ok(Names::default());
    }
    let mut names = Names::read(client).await?;
    for Difference { before, after } in differences {
        names.change(tep(before), tep(after));
    }
    Ok(names)
}

fn resource(side: &Option<proto::Resource>) -> Option<&Resource> {
    side.as_ref()?.resource.as_ref()
}

fn tep(side: &Option<proto::Resource>) -> Option<&proto::Tep> {
    if let Some(Resource::Tep(tep)) = resource(side) { Some(tep) } else { None }
}

fn domain(side: &Option<proto::Resource>) -> Option<&proto::Domain> {
    if let Some(Resource::Domain(domain)) = resource(side) { Some(domain) } else { None }
}

fn havip(side: &Option<proto::Resource>) -> Option<&proto::Havip> {
    if let Some(Resource::Havip(havip)) = resource(side) { Some(havip) } else { None }
}

fn line(Difference { before, after }: &Difference, names: &Names, most: usize) -> String {
    match resource(after).or(resource(before)) {
        Some(Resource::Tep(_)) => tep::plan_line(tep(before), tep(after)),
        Some(Resource::Domain(_)) => domain::plan_line(domain(before), domain(after), names, most),
        Some(Resource::Havip(_)) => havip::plan_line(havip(before), havip(after), names),
        None => String::new(),
    }
}

//! Events of HAVIPs: `havip history`, and lines of `watch`.

use ctl_api::Client;
use ctl_api::model::Name;
use ctl_api::proto;

use crate::failure::Failure;
use crate::out::{Column, Out};
use crate::text::{self, or_none, utc};

/// Instance that holds a HAVIP, in a table.
pub fn holder(holder: Option<&proto::Holder>) -> String {
    or_none(holder.map(|holder| &holder.instance))
}

/// Cause of a binding's last change, as a word.
pub fn why(why: proto::Why) -> Option<String> {
    text::word(why.as_str_name(), "WHY_")
}

fn kind(event: &proto::HavipEvent) -> String {
    text::word(event.kind().as_str_name(), "HAVIP_EVENT_KIND_").unwrap_or_else(|| "unknown".to_owned())
}

/// `havip history`.
pub async fn history(out: &mut Out, client: &mut Client, name: &Name) -> Result<(), Failure> {
    let events = client.havip_history(name).await?;
    if out.is_json() {
        return out.array(events.iter());
    }
    let row = |event: &proto::HavipEvent| {
        let offender = event.offender.as_ref().map(|proto::Offender { mac, tep, count }| {
            let (mac, tep) = (text::mac(mac), text::address(tep));
            // The announcements before the last one may be of others.
            if *count > 1 {
                format!("{mac} on {tep}, the last of {count}")
            } else {
                format!("{mac} on {tep}")
            }
        });
        let detail = text::given(&event.detail).map(str::to_owned);
        let detail: Vec<String> = offender.into_iter().chain(detail).collect();
        [
            utc(event.unix_ms),
            kind(event),
            holder(event.holder.as_ref()),
            holder(event.previous.as_ref()),
            or_none(why(event.why())),
            event.generation.to_string(),
            or_none(text::given(&detail.join("; "))),
        ]
    };
    let columns = ["TIME", "EVENT", "HOLDER", "PREVIOUS", "WHY", "GENERATION", "DETAIL"].map(Column::Text);
    out.table(columns, &events.iter().map(row).collect::<Vec<_>>())
}

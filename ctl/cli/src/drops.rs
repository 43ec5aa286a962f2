//! `drops`: who sent the frames that were dropped.

use ctl_api::{Client, proto};

use crate::failure::Failure;
use crate::out::{Column, Out};
use crate::text::{self, or_none, utc};

/// Lists the last offenders of one reason, or of all.
pub async fn run(out: &mut Out, client: &mut Client, reason: Option<&str>) -> Result<(), Failure> {
    let senders = client.drops(reason).await?;
    if out.is_json() {
        return out.array(senders.iter());
    }
    let columns = [
        Column::Text("REASON"),
        Column::Text("SOURCE"),
        Column::Text("TEP"),
        Column::Number("VNI"),
        Column::Text("MAC"),
        Column::Text("TO"),
        Column::Number("COUNT"),
        Column::Text("LAST"),
    ];
    out.table(columns, &senders.iter().map(row).collect::<Vec<_>>())
}

fn row(sender: &proto::DroppedSender) -> [String; 8] {
    let mac = |mac: Option<&Vec<u8>>| {
        let mac = mac.map(|mac| text::mac(mac));
        or_none(mac.map(|mac| if sender.outer { format!("({mac})") } else { mac }))
    };
    let tep = match (&sender.tep, sender.is_tep) {
        (Some(name), _) => name.clone(),
        (None, true) => "registered".to_owned(),
        (None, false) => or_none(None::<String>),
    };
    [
        sender.reason.clone(),
        or_none(text::optional_address(sender.source.as_ref())),
        tep,
        or_none(sender.vni),
        mac(sender.mac.as_ref()),
        mac(sender.destination.as_ref()),
        sender.count.to_string(),
        utc(sender.unix_ms),
    ]
}

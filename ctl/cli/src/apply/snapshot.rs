//! Everything that a node has, as of one revision.

use ctl_api::Client;
use ctl_api::model::{DomainEntry, HavipEntry, Revision, RowError};

use super::inventory::Inventory;
use crate::failure::Failure;

/// Reads all TEPs, domains and HAVIPs.
pub async fn read(client: &mut Client) -> Result<(Revision, Inventory), Failure> {
    let mut parts = client.snapshot().await?;
    let mut revision = Revision::default();
    let mut inventory = Inventory::default();
    while let Some(part) = client.next(&mut parts).await? {
        if let Some(number) = part.revision {
            revision = Revision::new(number);
        }
        for tep in part.teps {
            inventory.push_tep(tep.try_into()?);
        }
        for domain in part.domains {
            let DomainEntry { vni, name, limit, garp, mut members } = domain.try_into()?;
            members.sort_unstable();
            inventory.push_domain(vni, name, limit, garp, members);
        }
        for entry in part.havips {
            let entry = HavipEntry::try_from(entry).map_err(RowError::from)?;
            inventory.push_havip(entry.havip, false);
        }
    }
    // The contract says that they come sorted; a diff of lists that are not would be wrong, not slow.
    inventory.sort();
    Ok((revision, inventory))
}

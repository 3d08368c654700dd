//! What members commit.

use workloads::history::{CODE_CONNECTION, Claim, NO_CODE};

use super::Book;
use crate::checker::group::Instance;
use crate::checker::group::commits::Accepted;

impl Book<'_> {
    pub(super) fn committed(&mut self, claim: Claim, offset: i64, code: i16, at_ns: u64) {
        let Claim { member, partition, .. } = claim;
        let Some(holding) = self.holdings.of_commit(member, partition, offset) else {
            return;
        };
        let called_ns = self.holdings.get_mut(holding).answer(offset);
        match code {
            NO_CODE => self.accepted(holding, offset, called_ns, at_ns),
            CODE_CONNECTION => {
                let commits = &mut self.partitions.entry(partition).or_default().commits;
                commits.undecided = commits.undecided.max(offset);
                self.found.commits_undecided += 1;
                self.window().commits_undecided += 1;
            }
            _ => {
                let commits = &mut self.partitions.entry(partition).or_default().commits;
                commits.refused = commits.refused.max(offset);
                *self.found.commits_refused.entry(code).or_default() += 1;
                *self.window().commits_refused.entry(code).or_default() += 1;
            }
        }
    }

    fn accepted(&mut self, holding: u32, offset: i64, called_ns: u64, at_ns: u64) {
        self.found.commits_accepted += 1;
        self.window().commits_accepted += 1;
        let (owner, partition) = (self.owner(holding), self.holdings.get(holding).partition);
        let contradicted = self.partitions.entry(partition).or_default().commits.accept(Accepted {
            offset,
            called_ns,
            answered_ns: at_ns,
            holding,
            epoch: owner.epoch,
            member: owner.member,
        });
        self.look_for_hole(partition, offset, holding, at_ns);
        let instance = |earlier: Accepted, detail: String| Instance {
            owner: Some(owner),
            earlier: Some(self.owner(earlier.holding)),
            cause: self.cause(self.now_in()),
            detail,
            ..self.instance(partition, offset, 1, at_ns)
        };
        let regress = contradicted
            .regress
            .map(|earlier| instance(earlier, format!("{} had been committed", earlier.offset)));
        let overlap = contradicted.overlap.map(|earlier| {
            instance(
                earlier,
                format!("the newer owner's commit of {} had been accepted", earlier.offset),
            )
        });
        if let Some(instance) = regress {
            self.found.commit_regress.add(1, instance);
        }
        if let Some(instance) = overlap {
            self.found.zombie_overlap.add(1, instance);
        }
    }
}

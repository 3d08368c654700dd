//! What of a group has to be written.

use std::collections::BTreeSet;

/// Names of what is not as it was written last; what is not there any more is taken back.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Changes {
    pub epoch: bool,
    pub target_epoch: bool,
    /// By member id, as the two below.
    pub subscriptions: BTreeSet<String>,
    pub targets: BTreeSet<String>,
    pub currents: BTreeSet<String>,
}

impl Changes {
    pub fn is_empty(&self) -> bool {
        *self == Changes::default()
    }

    /// The group's epoch or what it is of.
    pub fn epoch(&mut self) {
        self.epoch = true;
    }

    /// There are new targets.
    pub fn target_epoch(&mut self) {
        self.target_epoch = true;
    }

    /// What a member says of itself.
    pub fn subscription(&mut self, id: &str) {
        self.subscriptions.insert(id.to_owned());
    }

    /// A member's target.
    pub fn target(&mut self, id: &str) {
        self.targets.insert(id.to_owned());
    }

    /// What a member holds, or its epoch.
    pub fn current(&mut self, id: &str) {
        self.currents.insert(id.to_owned());
    }

    /// Everything of a member.
    pub fn member(&mut self, id: &str) {
        self.subscription(id);
        self.target(id);
        self.current(id);
    }

    /// These as well.
    pub fn add(&mut self, more: Changes) {
        self.epoch |= more.epoch;
        self.target_epoch |= more.target_epoch;
        self.subscriptions.extend(more.subscriptions);
        self.targets.extend(more.targets);
        self.currents.extend(more.currents);
    }
}

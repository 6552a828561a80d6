//! The strategies: how pods move from the old sets to the new one.

use super::fleet::Member;
use super::plan::Rollout;
use crate::deployment::history;

impl Rollout<'_> {
    /// One step of a rolling update: grow the new set, else shrink the old ones. Says whether there was nothing to do.
    pub(super) fn roll(&mut self) -> bool {
        self.sync_new(true);
        !self.grow_new() && !self.shrink_old()
    }

    fn grow_new(&mut self) -> bool {
        let Some(new) = &self.new else { return false };
        let to = if new.size() > self.wanted.replicas { self.wanted.replicas } else { self.room_for_new(new) };
        // A set that is to be created has its size already.
        let planned = new.from.is_none();
        !planned && self.new.as_mut().is_some_and(|new| new.scale(to, &self.wanted))
    }

    /// How large the new set may be now: up to the surge above the Deployment's size, counting all sets.
    pub(super) fn room_for_new(&self, new: &Member) -> i32 {
        if !self.wanted.rolling {
            return self.wanted.replicas;
        }
        let others = self.old.iter().map(Member::size).fold(0, i32::saturating_add);
        let room = self.wanted.max_replicas().saturating_sub(others).saturating_sub(new.size());
        new.size() + room.min(self.wanted.replicas.saturating_sub(new.size())).max(0)
    }

    /// Shrinks old sets without falling below the pods that must stay available. Unhealthy old pods go first: they cost
    /// nothing.
    ///
    /// Example: 10 replicas, 2 may be unavailable, surge 3. The new set has 5 pods, none available, the old one 8. Then
    /// `13 - 8 - 5 = 0` old pods may go: pods of the new set that never become available stop the rollout.
    fn shrink_old(&mut self) -> bool {
        let new_unavailable = self.new.as_ref().map_or(0, |new| new.size() - new.available());
        let removable = self.sum(Member::size) - self.wanted.min_available() - new_unavailable;
        if self.old.iter().all(|member| !member.is_active()) || removable <= 0 {
            return false;
        }
        let unhealthy = self.shrink(removable, |member| member.size() - member.available());
        let spare = self.sum(Member::available) - self.wanted.min_available();
        let healthy = self.shrink(spare, Member::size);
        unhealthy + healthy > 0
    }

    /// Takes up to `budget` pods from the old sets, the oldest first, at most `from` of each. Says how many.
    fn shrink(&mut self, budget: i32, from: impl Fn(&Member) -> i32) -> i32 {
        let mut left = budget.max(0);
        for member in self.old.iter_mut().filter(|member| member.is_active()) {
            let taken = from(member).clamp(0, left);
            if taken > 0 {
                member.scale(member.size() - taken, &self.wanted);
                left -= taken;
            }
        }
        budget.max(0) - left
    }

    /// One step of Recreate: all old pods end before the new set is made. Says whether there was nothing to do before the
    /// new set got its size.
    pub(super) fn recreate(&mut self) -> bool {
        self.sync_new(false);
        let shrunk = self.old.iter_mut().filter(|member| member.is_active()).any_change(|m| m.scale(0, &self.wanted));
        if shrunk || self.old_pods_run() {
            return false;
        }
        if self.new.is_none() {
            self.sync_new(true);
        }
        if let Some(new) = &mut self.new {
            new.scale(self.wanted.replicas, &self.wanted);
        }
        true
    }

    fn old_pods_run(&self) -> bool {
        let busy = |member: &Member| member.set.metadata.uid.as_ref().is_some_and(|uid| self.busy.contains(uid));
        self.old.iter().any(|member| member.actual() > 0 || busy(member))
    }

    /// Takes over a new size of the Deployment. In the middle of a rollout all active sets grow or shrink in proportion, so
    /// that a bad template does not spread faster.
    pub(super) fn scale(&mut self) {
        let active = self.all().filter(|member| member.is_active()).count();
        if active <= 1 {
            let wanted = self.wanted.clone();
            if let Some(only) = self.only_or_newest() {
                only.scale(wanted.replicas, &wanted);
            }
        } else if self.is_saturated() {
            self.old.iter_mut().for_each(|member| {
                member.scale(0, &self.wanted);
            });
        } else if self.wanted.rolling {
            self.scale_in_proportion();
        }
    }

    fn only_or_newest(&mut self) -> Option<&mut Member> {
        let old_active = self.old.iter().position(Member::is_active);
        match old_active {
            Some(at) => self.old.get_mut(at),
            None if self.new.is_some() => self.new.as_mut(),
            None => self.old.last_mut(),
        }
    }

    fn is_saturated(&self) -> bool {
        let replicas = self.wanted.replicas;
        self.new.as_ref().is_some_and(|new| {
            new.size() == replicas && history::noted_desired(&new.set) == Some(replicas) && new.available() == replicas
        })
    }

    fn scale_in_proportion(&mut self) {
        let total = self.all().filter(|member| member.is_active()).map(Member::size).fold(0, i32::saturating_add);
        let allowed = if self.wanted.replicas > 0 { self.wanted.max_replicas() } else { 0 };
        let to_add = allowed - total;
        let (wanted, known) = (self.wanted.clone(), self.before.replicas.unwrap_or_default());
        let mut members: Vec<&mut Member> =
            self.old.iter_mut().chain(&mut self.new).filter(|member| member.is_active()).collect();
        // The largest first; among equals the newer grow first, and the older shrink first.
        members.sort_by(|left, right| {
            let age = super::fleet::by_age(&left.set, &right.set);
            right.size().cmp(&left.size()).then(if to_add > 0 { age.reverse() } else { age })
        });
        let mut sizes: Vec<i32> = Vec::with_capacity(members.len());
        let mut added = 0;
        for member in &members {
            let share = share(member, to_add, added, wanted.replicas, wanted.max_replicas(), known);
            sizes.push(member.size() + share);
            added += share;
        }
        // What rounding left over goes to the largest.
        if let Some(largest) = sizes.first_mut() {
            *largest = (*largest + to_add - added).max(0);
        }
        for (member, size) in members.into_iter().zip(sizes) {
            member.resize(size, &wanted);
        }
    }
}

/// How much one set grows (or shrinks, when negative): its part of the Deployment before the change, of the Deployment now.
fn share(member: &Member, to_add: i32, added: i32, replicas: i32, maximum: i32, known: i32) -> i32 {
    if to_add == 0 || to_add == added {
        return 0;
    }
    let size = member.size();
    let fraction = if replicas == 0 {
        -size
    } else {
        let before = history::noted_maximum(&member.set).filter(|before| *before > 0).unwrap_or(known);
        if before == 0 { 0 } else { rounded(i64::from(size) * i64::from(maximum), i64::from(before)) - size }
    };
    let left = to_add - added;
    if to_add > 0 { fraction.min(left) } else { fraction.max(left) }
}

/// A quotient of non-negative numbers, rounded to the nearest whole, halves up.
fn rounded(dividend: i64, divisor: i64) -> i32 {
    i32::try_from((2 * dividend + divisor) / (2 * divisor)).unwrap_or(i32::MAX)
}

/// `any` that visits everything.
trait AnyChange: Iterator + Sized {
    fn any_change(self, change: impl FnMut(Self::Item) -> bool) -> bool {
        self.map(change).fold(false, |changed, one| changed | one)
    }
}

impl<I: Iterator> AnyChange for I {}

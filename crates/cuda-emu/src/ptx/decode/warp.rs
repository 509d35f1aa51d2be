//! Shuffles, votes, matches, reductions over a warp.

use crate::ptx::ir::{Collective, NONE, Op, Shuffle, ShuffleMode, WarpWide};
use crate::ptx::syntax::{Operand, Slot, Statement};
use crate::report::InstructionClass;

use super::{Decoded, Decoder, Opcode};

impl<'a> Decoder<'a> {
    pub(super) fn warp(&mut self, s: &Statement<'a>, opcode: &mut Opcode<'a>) -> Decoded {
        let op = match opcode.base {
            "activemask" if s.opcode == "activemask.b32" => {
                let [d] = self.operands(s)?;
                Op::ActiveMask(self.destination(s, d, Slot::Word)?)
            }
            "shfl" => self.shuffle(s, opcode)?,
            _ => Op::WarpWide(Box::new(self.collective(s)?)),
        };
        self.push(s, op, InstructionClass::WarpWide, 0);
        Ok(())
    }

    fn shuffle(&mut self, s: &Statement<'a>, opcode: &mut Opcode<'a>) -> Result<Op, super::LoadError> {
        let mode = match opcode.mods[..] {
            ["sync", "up"] => ShuffleMode::Up,
            ["sync", "down"] => ShuffleMode::Down,
            ["sync", "bfly"] => ShuffleMode::Butterfly,
            ["sync", "idx"] => ShuffleMode::Index,
            _ => return self.unknown(s),
        };
        if opcode.kind != "b32" {
            return self.unknown(s);
        }
        let [d, a, b, c, members] = self.operands(s)?;
        let (d, p) = self.two_destinations(s, d)?;
        Ok(Op::Shuffle(Box::new(Shuffle {
            mode,
            d,
            p,
            a: self.source(s, a, Slot::Word)?,
            b: self.source(s, b, Slot::Word)?,
            c: self.source(s, c, Slot::Word)?,
            members: self.source(s, members, Slot::Word)?,
        })))
    }

    /// `d` or `d|p`.
    fn two_destinations(&mut self, s: &Statement<'_>, operand: &Operand<'_>) -> Result<(u16, u16), super::LoadError> {
        match operand {
            Operand::Pair(d, p) => {
                let p = if **p == Operand::Sink { NONE } else { self.destination(s, p, Slot::Pred)? };
                Ok((self.destination(s, d, Slot::Word)?, p))
            }
            d => Ok((self.destination(s, d, Slot::Word)?, NONE)),
        }
    }

    fn collective(&mut self, s: &Statement<'a>) -> Result<WarpWide, super::LoadError> {
        use Collective::*;
        let op = match s.opcode {
            "vote.sync.ballot.b32" => Ballot,
            "vote.sync.any.pred" => Any,
            "vote.sync.all.pred" => All,
            "vote.sync.uni.pred" => Uniform,
            "match.sync.any.b32" | "match.any.sync.b32" | "match.sync.any.b64" | "match.any.sync.b64" => MatchAny,
            "match.sync.all.b32" | "match.all.sync.b32" | "match.sync.all.b64" | "match.all.sync.b64" => MatchAll,
            "redux.sync.add.u32" | "redux.sync.add.s32" => ReduceAdd,
            "redux.sync.min.u32" => ReduceMinU,
            "redux.sync.min.s32" => ReduceMinS,
            "redux.sync.max.u32" => ReduceMaxU,
            "redux.sync.max.s32" => ReduceMaxS,
            "redux.sync.and.b32" => ReduceAnd,
            "redux.sync.or.b32" => ReduceOr,
            "redux.sync.xor.b32" => ReduceXor,
            _ => return self.unknown(s),
        };
        let [d, a, members] = self.operands(s)?;
        let members = self.source(s, members, Slot::Word)?;
        let long = s.opcode.ends_with("b64");
        let mut out = WarpWide { op, d: NONE, p: NONE, a: NONE, long, negated: false, members };
        match op {
            Ballot | Any | All | Uniform => {
                (out.a, out.negated) = self.pred_source(s, a)?;
                out.d = self.destination(s, d, if op == Ballot { Slot::Word } else { Slot::Pred })?;
            }
            MatchAll => {
                out.a = self.source(s, a, if long { Slot::Long } else { Slot::Word })?;
                (out.d, out.p) = self.two_destinations(s, d)?;
            }
            _ => {
                out.a = self.source(s, a, if long { Slot::Long } else { Slot::Word })?;
                out.d = self.destination(s, d, Slot::Word)?;
            }
        }
        Ok(out)
    }
}

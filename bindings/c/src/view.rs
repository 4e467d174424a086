//! From C's operands to views: NULL, alignment, address range, and memory that operands share.

use crate::status::Failure;
use gaitprop_kernels::{BatchMut, BatchRef, MatMut, MatRef, Real};

/// A matrix as C passes it, read or written.
#[derive(Clone, Copy)]
pub(crate) struct Mat<T> {
    pub(crate) data: *mut T,
    pub(crate) rows: usize,
    pub(crate) cols: usize,
    pub(crate) rs: isize,
    pub(crate) cs: isize,
}

/// A batch as C passes it, read or written.
#[derive(Clone, Copy)]
pub(crate) struct Batch<T> {
    pub(crate) first: Mat<T>,
    pub(crate) count: usize,
    pub(crate) stride: isize,
}

/// A loop over addresses: `count` > 1 of them, `step` > 0 elements apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Loop {
    step: usize,
    count: usize,
}

/// The set of elements of an operand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Cover {
    /// Lowest and highest address, in units of the element's size.
    range: (usize, usize),
    /// Counts, all above 0, and strides.
    dims: [(usize, isize); 3],
}

impl Cover {
    /// Returns the elements `data + Σ i·stride`, i < count, of a nonempty operand. Returns `None`
    /// if one does not fit the address space.
    fn new<T>(data: *const T, dims: [(usize, isize); 3]) -> Option<Self> {
        let (mut below, mut above) = (0isize, 0isize);
        for (count, stride) in dims {
            let reach = isize::try_from(count - 1).ok()?.checked_mul(stride)?;
            (below, above) = (below.checked_add(reach.min(0))?, above.checked_add(reach.max(0))?);
        }
        // Byte offsets must fit an `isize`, and addresses must not wrap.
        let size = size_of::<T>();
        let span = above.checked_sub(below)?;
        let bytes = span.checked_add(1)?.checked_mul(size as isize)?;
        let first = (data as usize).checked_add_signed(below.checked_mul(size as isize)?)?;
        first.checked_add_signed(bytes)?;
        Some(Self { range: (first / size, first / size + span as usize), dims })
    }

    /// Returns the elements as nested loops, by decreasing step, and the number of loops.
    fn loops(&self) -> ([Loop; 3], usize) {
        let (mut loops, mut depth) = ([Loop::default(); 3], 0);
        for (count, stride) in self.dims {
            if count > 1 && stride != 0 {
                loops[depth] = Loop { step: stride.unsigned_abs(), count };
                depth += 1;
            }
        }
        loops[..depth].sort_unstable_by(|a, b| b.cmp(a));
        (loops, depth)
    }

    /// Returns whether two indices may reach one element: the step of a loop does not exceed the
    /// span of those inside it.
    fn repeats(&self) -> bool {
        let (loops, depth) = self.loops();
        let inside = |i: usize| span_of(&loops[i + 1..depth]);
        self.dims.iter().any(|&(count, stride)| count > 1 && stride == 0) || (0..depth).any(|i| loops[i].step <= inside(i))
    }

    /// Returns whether the two sets share an element.
    fn meets(&self, other: &Self) -> bool {
        if self.range.1 < other.range.0 || other.range.1 < self.range.0 {
            return false;
        }
        let ((loops, depth), (other_loops, other_depth)) = (self.loops(), other.loops());
        meet((self.range.0, &loops[..depth]), (other.range.0, &other_loops[..other_depth]))
    }
}

/// Returns the distance from the lowest to the highest element. It fits: checked by `Cover::new`.
fn span_of(loops: &[Loop]) -> usize {
    loops.iter().map(|l| l.step * (l.count - 1)).sum()
}

/// Returns whether two sets share an element: exactly, by their outermost loops.
///
/// Blocks of one array interleave in memory without a common element, so ranges do not decide it.
fn meet(a: (usize, &[Loop]), b: (usize, &[Loop])) -> bool {
    let ((low, loops), (other_low, other)) = (a, b);
    let (high, other_high) = (low + span_of(loops), other_low + span_of(other));
    if high < other_low || other_high < low {
        return false;
    }
    match (loops, other) {
        ([] | [_], [] | [_]) => progressions_meet(a, b),
        ([outer, rest @ ..], _) if other.first().is_none_or(|o| outer.step >= o.step) => {
            // Only the iterations whose range reaches the other set.
            let first = other_low.saturating_sub(low + span_of(rest)).div_ceil(outer.step);
            let last = ((other_high - low) / outer.step).min(outer.count - 1);
            (first..=last).any(|i| meet((low + i * outer.step, rest), b))
        }
        _ => meet(b, a),
    }
}

/// [`meet`] for two sets of at most one loop, whose ranges intersect.
fn progressions_meet(a: (usize, &[Loop]), b: (usize, &[Loop])) -> bool {
    // A single element is a progression of any step.
    let progression = |(low, loops): (usize, &[Loop])| {
        let Loop { step, count } = loops.first().copied().unwrap_or(Loop { step: usize::MAX, count: 1 });
        (step, low, count)
    };
    let (fine, coarse) = (progression(a).min(progression(b)), progression(a).max(progression(b)));
    let ((fine_step, fine_low, fine_count), (step, low, count)) = (fine, coarse);
    let (from, to) =
        (low.max(fine_low), (low + step.saturating_mul(count - 1)).min(fine_low + fine_step.saturating_mul(fine_count - 1)));
    let first = (from - low).div_ceil(step);
    // Distances to the fine progression repeat after `fine_step` of these elements.
    let mut candidates = (first..count).take(fine_step).map(|i| low + i * step).take_while(|at| *at <= to);
    candidates.any(|at| (at - fine_low).is_multiple_of(fine_step))
}

/// Largest number of operands of a call.
const MOST: usize = 8;

/// The operands of one call that have been accepted so far.
pub(crate) struct Operands {
    seen: [Option<Seen>; MOST],
    len: usize,
}

#[derive(Clone, Copy)]
struct Seen {
    what: &'static str,
    cover: Cover,
    written: bool,
}

impl Operands {
    pub(crate) const fn new() -> Self {
        Self { seen: [None; MOST], len: 0 }
    }

    /// Accepts an operand `what` of `dims`, unless it is empty and so covers nothing.
    fn accept<T>(&mut self, what: &'static str, data: *const T, dims: [(usize, isize); 3], written: bool) -> Result<(), Failure> {
        if dims.iter().any(|(count, _)| *count == 0) {
            return Ok(());
        }
        if data.is_null() {
            return Err(Failure::Null(what));
        }
        if !(data as usize).is_multiple_of(size_of::<T>()) {
            return Err(Failure::Unaligned(what));
        }
        let cover = Cover::new(data, dims).ok_or(Failure::Extent(what))?;
        if written && cover.repeats() {
            return Err(Failure::Repeats(what));
        }
        let rival = self.seen[..self.len].iter().flatten().find(|s| (written || s.written) && s.cover.meets(&cover));
        if let Some(rival) = rival {
            return Err(Failure::Shared(what, rival.what));
        }
        self.seen[self.len] = Some(Seen { what, cover, written });
        self.len += 1;
        Ok(())
    }

    /// Returns a view to read.
    ///
    /// # Safety
    /// For `'a`, every element of `m` may be read, and no other thread writes it. Every operand
    /// that the call writes passes through this value.
    pub(crate) unsafe fn read<'a, T: Real>(&mut self, what: &'static str, m: Mat<T>) -> Result<MatRef<'a, T>, Failure> {
        self.accept(what, m.data, [(m.rows, m.rs), (m.cols, m.cs), (1, 0)], false)?;
        // SAFETY: the caller promises readable elements. `accept` has checked NULL, alignment and
        // offsets, and that no written operand shares an element with this one.
        Ok(unsafe { MatRef::from_raw_parts(m.data, (m.rows, m.cols), (m.rs, m.cs)) })
    }

    /// Returns a view to write.
    ///
    /// # Safety
    /// For `'a`, every element of `m` may be written, and no other thread reaches it. Every operand
    /// of the call passes through this value.
    pub(crate) unsafe fn write<'a, T: Real>(&mut self, what: &'static str, m: Mat<T>) -> Result<MatMut<'a, T>, Failure> {
        self.accept(what, m.data, [(m.rows, m.rs), (m.cols, m.cs), (1, 0)], true)?;
        // SAFETY: the caller promises writable elements. `accept` has checked NULL, alignment and
        // offsets, that distinct indices are distinct elements, and that no other operand shares
        // one.
        Ok(unsafe { MatMut::from_raw_parts(m.data, (m.rows, m.cols), (m.rs, m.cs)) })
    }

    /// Returns a batch to read.
    ///
    /// # Safety
    /// As [`Operands::read`], for each matrix.
    pub(crate) unsafe fn read_batch<'a, T: Real>(&mut self, what: &'static str, b: Batch<T>) -> Result<BatchRef<'a, T>, Failure> {
        let m = b.first;
        self.accept(what, m.data, [(m.rows, m.rs), (m.cols, m.cs), (b.count, b.stride)], false)?;
        // SAFETY: as in `read`, for all matrices: `accept` has checked their elements.
        Ok(unsafe { BatchRef::from_raw_parts(m.data, (b.count, b.stride), (m.rows, m.cols), (m.rs, m.cs)) })
    }

    /// Returns a batch to write.
    ///
    /// # Safety
    /// As [`Operands::write`], for each matrix.
    pub(crate) unsafe fn write_batch<'a, T: Real>(
        &mut self,
        what: &'static str,
        b: Batch<T>,
    ) -> Result<BatchMut<'a, T>, Failure> {
        let m = b.first;
        self.accept(what, m.data, [(m.rows, m.rs), (m.cols, m.cs), (b.count, b.stride)], true)?;
        // SAFETY: as in `write`, for all matrices: `accept` has checked their elements.
        Ok(unsafe { BatchMut::from_raw_parts(m.data, (b.count, b.stride), (m.rows, m.cols), (m.rs, m.cs)) })
    }

    /// Returns contiguous elements to read.
    ///
    /// # Safety
    /// As [`Operands::read`].
    pub(crate) unsafe fn read_slice<'a, T>(
        &mut self,
        what: &'static str,
        data: *const T,
        len: usize,
    ) -> Result<&'a [T], Failure> {
        self.accept(what, data, [(len, 1), (1, 0), (1, 0)], false)?;
        // SAFETY: as in `read`. A slice of no element does not take the caller's pointer.
        Ok(if len == 0 { &[] } else { unsafe { core::slice::from_raw_parts(data, len) } })
    }

    /// Returns contiguous elements to write.
    ///
    /// # Safety
    /// As [`Operands::write`].
    pub(crate) unsafe fn write_slice<'a, T>(
        &mut self,
        what: &'static str,
        data: *mut T,
        len: usize,
    ) -> Result<&'a mut [T], Failure> {
        self.accept(what, data, [(len, 1), (1, 0), (1, 0)], true)?;
        // SAFETY: as in `write`. A slice of no element does not take the caller's pointer.
        Ok(if len == 0 { &mut [] } else { unsafe { core::slice::from_raw_parts_mut(data, len) } })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    /// A small generator of numbers below `n`.
    struct Numbers(u64);
    impl Numbers {
        fn below(&mut self, n: u64) -> usize {
            self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            ((self.0 >> 33) % n) as usize
        }
    }

    type Dims = [(usize, isize); 3];

    fn elements(first: isize, dims: Dims) -> Vec<isize> {
        let [(a, x), (b, y), (c, z)] = dims;
        let all = (0..a as isize).flat_map(|i| (0..b as isize).flat_map(move |j| (0..c as isize).map(move |k| (i, j, k))));
        all.map(|(i, j, k)| first + i * x + j * y + k * z).collect()
    }

    /// Number of random sets. Miri, which runs a thousandth as fast, gets few.
    const SETS: usize = if cfg!(miri) { 60 } else { 60_000 };

    /// Sets of random loops, against their elements one by one.
    #[test]
    fn shared_elements_are_found_exactly() {
        let mut numbers = Numbers(1);
        let (mut met, mut apart, mut interleaved, mut repeated) = (0, 0, 0, 0);
        for _ in 0..SETS {
            let [one, two] = [(); 2].map(|()| {
                let dims: Dims = [(); 3].map(|()| (1 + numbers.below(4), numbers.below(41) as isize - 20));
                (1000 + numbers.below(60) as isize, dims)
            });
            let at = |first: isize| core::ptr::without_provenance::<f32>(first as usize * 4);
            let [a, b] = [one, two].map(|(first, dims)| (elements(first, dims), Cover::new(at(first), dims).unwrap()));
            let [set, other]: [BTreeSet<_>; 2] = [&a.0, &b.0].map(|x| x.iter().copied().collect());
            let shared = !set.is_disjoint(&other);
            assert_eq!(a.1.meets(&b.1), shared, "{one:?} {two:?}");
            assert_eq!(b.1.meets(&a.1), shared, "{one:?} {two:?}");
            // Repeats may be reported where there are none, never the other way round.
            assert!(a.1.repeats() || set.len() == a.0.len(), "{one:?}");
            let crossed = set.first() < other.last() && other.first() < set.last();
            (met, apart) = (met + usize::from(shared), apart + usize::from(!shared));
            interleaved += usize::from(crossed && !shared);
            repeated += usize::from(a.1.repeats() && set.len() < a.0.len());
        }
        assert!([met, apart, interleaved, repeated].iter().all(|n| *n > SETS / 60), "{met} {apart} {interleaved} {repeated}");
    }

    #[test]
    fn large_blocks_of_one_array_take_few_steps() {
        let n = if cfg!(miri) { 1 << 8 } else { 1 << 20 };
        let at = |at: usize| core::ptr::without_provenance::<f64>(at * 8);
        let block = |first| Cover::new(at(first), [(n, 3000), (1000, 1), (1, 0)]).unwrap();
        assert!(!block(5000).meets(&block(6000)));
        assert!(block(5000).meets(&block(5999)));
        assert!(!block(5000).repeats());
    }

    #[test]
    fn addresses_that_do_not_fit_are_refused() {
        let at = core::ptr::without_provenance::<f64>(4096);
        for dims in [
            [(usize::MAX, 1), (1, 0), (1, 0)],
            [(2, isize::MAX), (1, 0), (1, 0)],
            [(2, isize::MIN), (1, 0), (1, 0)],
            [(1 << 40, 1 << 30), (1, 0), (1, 0)],
            [(2, -600), (1, 0), (1, 0)],
            [(usize::MAX, 0), (1, 0), (1, 0)],
            [(3, isize::MAX / 16), (3, isize::MAX / 16), (1, 0)],
        ] {
            assert_eq!(Cover::new(at, dims), None, "{dims:?}");
        }
        assert!(Cover::new(at, [(2, -512), (1, 0), (1, 0)]).is_some());
        assert!(Cover::new(at, [(1 << 40, 0), (1 << 40, 0), (1, 0)]).is_some_and(|c| c.repeats()));
    }

    #[test]
    fn operands_name_what_is_wrong() {
        let mut x = [0f32; 40];
        let at = x.as_mut_ptr();
        let mat = |at: *mut f32, rs, cs| Mat { data: at, rows: 3, cols: 4, rs, cs };
        // SAFETY: every accepted operand lies in `x`, and no view is used.
        unsafe {
            let mut of = Operands::new();
            assert!(matches!(of.read("A", mat(core::ptr::null_mut(), 4, 1)), Err(Failure::Null("A"))));
            assert!(matches!(of.read("A", mat(at.byte_add(1), 4, 1)), Err(Failure::Unaligned("A"))));
            assert!(matches!(of.write("C", mat(at, 3, 1)), Err(Failure::Repeats("C"))));
            of.read("A", mat(at, 8, 1)).unwrap();
            of.read("B", mat(at, 8, 1)).unwrap();
            of.write("C", mat(at.add(4), 8, 1)).unwrap();
            assert!(matches!(of.write("C", mat(at.add(3), 8, 1)), Err(Failure::Shared("C", "A"))));
            assert!(matches!(of.read_slice("b", at.add(5), 1), Err(Failure::Shared("b", "C"))));
            let none = Mat { data: core::ptr::null_mut::<f32>(), rows: 0, cols: 4, rs: 4, cs: 1 };
            assert!(of.write("none", none).unwrap().is_empty());
        }
    }
}

//! Functions that are compiled in this crate, once for each element type.
//!
//! Rust compiles a generic function anew in every crate that calls it, with the options of that
//! crate. A program whose own code is built without optimization would then run its products without
//! optimization. [`once`] keeps the work here: the generic function only selects one of two
//! functions that are not generic.

/// What [`once`] defines: a generic function as a type, so that an element type can select from it.
pub(crate) trait Once {
    type Args<'a, T: 'static>;
    type Output<T: 'static>;
    fn f32(args: Self::Args<'_, f32>) -> Self::Output<f32>;
    fn f64(args: Self::Args<'_, f64>) -> Self::Output<f64>;
}

/// The selection by an element type.
pub(crate) trait Select: Sized + 'static {
    fn call<F: Once>(args: F::Args<'_, Self>) -> F::Output<Self>;
}

impl Select for f32 {
    #[inline(always)]
    fn call<F: Once>(args: F::Args<'_, f32>) -> F::Output<f32> {
        F::f32(args)
    }
}

impl Select for f64 {
    #[inline(always)]
    fn call<F: Once>(args: F::Args<'_, f64>) -> F::Output<f64> {
        F::f64(args)
    }
}

/// Defines a function that runs a generic body, which is compiled here for `f32` and for `f64`.
///
/// The body is a function that is generic over T alone, or a block. References and views in the list
/// of arguments have the lifetime `'a`; a result cannot borrow from them.
macro_rules! once {
    ($(#[$meta:meta])* $vis:vis fn $name:ident<T: $bound:path> = $body:ident($($arg:ident: $ty:ty),* $(,)?) $(-> $ret:ty)?) => {
        $crate::base::once::once! {
            $(#[$meta])* $vis fn $name<T: $bound>($($arg: $ty),*) $(-> $ret)? { $body::<T>($($arg),*) }
        }
    };
    ($(#[$meta:meta])* $vis:vis fn $name:ident<T: $bound:path>($($arg:ident: $ty:ty),*) $(-> $ret:ty)? $body:block) => {
        $(#[$meta])*
        #[allow(clippy::too_many_arguments)]
        #[inline]
        $vis fn $name<'a, T: $bound>($($arg: $ty),*) $(-> $ret)? {
            #[allow(clippy::too_many_arguments)]
            fn body<'a, T: $bound>($($arg: $ty),*) $(-> $ret)? $body
            struct Both;
            impl $crate::base::once::Once for Both {
                type Args<'a, T: 'static> = ($($ty,)*);
                type Output<T: 'static> = $crate::base::once::once!(@output $($ret)?);
                fn f32(($($arg,)*): Self::Args<'_, f32>) -> Self::Output<f32> {
                    body::<f32>($($arg),*)
                }
                fn f64(($($arg,)*): Self::Args<'_, f64>) -> Self::Output<f64> {
                    body::<f64>($($arg),*)
                }
            }
            T::call::<Both>(($($arg,)*))
        }
    };
    (@output) => { () };
    (@output $ret:ty) => { $ret };
}
pub(crate) use once;

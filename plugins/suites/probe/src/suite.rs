//! What every suite's component opens with.

/// The application that does what `$perform` does, and `fault`, which tells an error of the interface by its
/// kind and, where it has any, in its words.
#[macro_export]
macro_rules! suite {
    (@fault $kind:literal) => {
        $crate::Fault::bare($kind)
    };
    (@fault $kind:literal, $text:expr) => {
        $crate::Fault::said($kind, $text)
    };
    ($perform:expr, $error:ty { $($case:pat => $kind:literal $(, $text:expr)?;)+ }) => {
        #[canopy_sdk::app]
        fn app() -> canopy_sdk::Router {
            $crate::serve($perform)
        }

        fn fault(error: $error) -> $crate::Fault {
            match error {
                $($case => $crate::suite!(@fault $kind $(, $text)?),)+
            }
        }
    };
}

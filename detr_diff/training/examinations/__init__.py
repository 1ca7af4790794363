"""The examinations of the doctor: measurements, and findings as pure functions of them."""

"""Tables, figures and the report page: how results look. Knows no paper."""

"""The SQL warehouse: ``base`` says what a load needs of one, a module a dialect says how."""

"""What people look at: tables, figures and pages. The only floor that knows pandas and matplotlib."""

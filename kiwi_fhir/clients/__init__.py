"""What other machines are talked to by: FHIR servers, their logins, and the URLs of databases."""
